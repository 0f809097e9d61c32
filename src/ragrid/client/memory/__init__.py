"""The memory service, for programs: what is sent, what comes back, and one class for each way of waiting."""
