"""One per host: checks each instance and keeps the registry true."""
