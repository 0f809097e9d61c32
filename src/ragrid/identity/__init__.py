"""Who a caller is and what it may do: claims, roles, token verification."""
