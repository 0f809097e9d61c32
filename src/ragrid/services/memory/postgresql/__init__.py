"""The memory store on PostgreSQL: several replicas on one database, commits in groups, a second wall in the server."""
