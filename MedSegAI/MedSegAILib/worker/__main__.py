"""``python -m MedSegAILib.worker``: the child's end. It is started by ``MedSegAILib.worker.client.Worker``."""

from MedSegAILib.worker.child import main

if __name__ == "__main__":
    main()
