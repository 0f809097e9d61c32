"""One per host: checks every instance, registers the healthy ones, tells what it saw, keeps the supervisor alive."""
