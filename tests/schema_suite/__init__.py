"""The official JSON Schema test suite, through scripted runs of a real worker."""
