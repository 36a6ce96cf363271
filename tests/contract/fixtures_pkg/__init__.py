"""Code that a parent may allow a worker to import: well-behaved tools, and every kind of other."""
