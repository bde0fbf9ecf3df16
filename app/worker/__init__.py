"""The process: Faust's application with our consumer, our tables and our web server around the pipeline."""
