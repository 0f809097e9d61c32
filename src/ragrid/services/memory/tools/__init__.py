"""The operations as tools of the Model Context Protocol, so that agents and editors use them as their memory."""
