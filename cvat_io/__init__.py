"""Files: CVAT for video 1.1, mask run lengths, COCO, archives opened safely."""
