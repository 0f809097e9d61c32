"""From texts to vectors, after the write and never in its way: outbox, worker, and the vectors in memory."""
