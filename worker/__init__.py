"""How spans get run: Celery app, claims, leases, heartbeats, progress, assembly of results."""
