"""Walking forward through history: runs, their evidence, losses, placebos and reports."""
