"""A CVAT server at the other end: jobs are pulled from it and results pushed to it."""
