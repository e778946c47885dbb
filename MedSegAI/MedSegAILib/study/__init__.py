"""The annotation study on disk: plan, assignments, events, versions; a shared folder without a server or a lock.

``Study`` is the coordinator's view, ``Desk`` the annotator's, ``check`` finds what does not fit together::

    STUDY/
      study.json                      the definition: segments, arms, design, thresholds
      cases/<case>.json               image, its checksum and grid
      images/<case>.nrrd              voxels and geometry alone
      assignments.json                frozen: who gets which case in which arm, period and order
      drafts/<task>.json              where a task's draft comes from
      reviews/<reviewer>/<decision>.json
      annotators/<code>/              all that this annotator's application opens, and the images
        worklist.json                 the tasks without arm, repeat, sham or case
        starts/<task>.seg.nrrd        what a task begins with
        logs/<run>.jsonl              events, one file per run of the application
        versions/<task>__v001__<hash>.seg.nrrd + .json
        autosave/<task>__s001__<hash>.seg.nrrd + .json
        inbox/<decision>.json         what reviewers decided, without who they are

Every file has one writer. Give every annotator the right to read ``images`` and the own folder, and to write the own.
"""

from MedSegAILib.study.check import Finding, check
from MedSegAILib.study.definition import SegmentDefinition, StudyDefinition
from MedSegAILib.study.desk import Desk
from MedSegAILib.study.folder import Study

__all__ = ["Desk", "Finding", "SegmentDefinition", "Study", "StudyDefinition", "check"]
