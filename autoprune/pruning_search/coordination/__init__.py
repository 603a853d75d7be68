"""Several workers on one study: heartbeats, claims, retries."""
