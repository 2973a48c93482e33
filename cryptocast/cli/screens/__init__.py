"""Reports as something to look at: one function a document, which gives the parts of its screen from top to bottom."""
