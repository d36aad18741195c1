"""What a job is: states, store, revisions, key frames, spans, planning, files on disk."""
