"""Our engines behind the interfaces of cvat_sdk.auto_annotation, for CVAT's own buttons."""
