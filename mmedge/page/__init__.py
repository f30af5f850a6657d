"""What the HTML reports are made of: checked markup, drawings, numbers as people read them, one style."""
