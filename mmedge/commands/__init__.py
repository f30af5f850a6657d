"""The commands of the runtime: one module each, imported when it is called."""
