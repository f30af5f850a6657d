"""The parts of the demo's report page: markup, pictures, tables and words, all made from one DemoResult."""
