"""Where instances are: one protocol; Consul, etcd, in-memory."""
