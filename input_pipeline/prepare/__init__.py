"""From official archives to TFDS datasets in ArrayRecord: `python -m input_pipeline.prepare`."""
