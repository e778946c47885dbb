"""A warm child process that runs models, so that neither a crash nor a lack of memory there can hurt its parent.

>>> from MedSegAILib.worker.client import Worker
>>> with Worker() as worker:
...     result = worker.segment(read_image("volume.nii.gz"), "hippocampus", device="cpu")
"""
