"""What people and programs see over HTTP and Socket.IO: pages, API, sign-in, live events."""
