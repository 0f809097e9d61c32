"""Structured memories behind `/memory/v1/`: durable before answered, versioned, walled off by tenant and namespace."""
