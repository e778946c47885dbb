"""Stand-in for ``slicer.packaging`` (Slicer 5.12): it records what is asked for and never installs anything.

>>> packaging_tools.requests                      # [Request("pip_install", ("torch>=2",), {...})]
>>> packaging_tools.outcome = RuntimeError("no network")   # what the next installation raises
"""

from __future__ import annotations

import importlib.metadata
import re
import types
from dataclasses import dataclass, field
from pathlib import Path

from harness.dialogs import answers


@dataclass(frozen=True)
class Request:
    """One call: the function, the requirements and the other arguments."""

    function: str
    requirements: tuple[str, ...]
    options: dict = field(default_factory=dict)


requests: list[Request] = []
outcome: Exception | None = None


def clear():
    global outcome
    requests.clear()
    outcome = None


def _listed(requirements) -> tuple[str, ...]:
    """A text with spaces between requirements, one requirement, or a list, as pip and Slicer take them."""
    if isinstance(requirements, str):
        return tuple(requirements.split())
    return tuple(str(one) for one in requirements) if isinstance(requirements, (list, tuple)) else (str(requirements),)


def pip_check(req, _seen=None) -> bool:
    """Whether the requirements are there in a version that fits."""
    from packaging.requirements import Requirement

    for text in _listed(req):
        requirement = Requirement(text)
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            return False
        if not requirement.specifier.contains(version, prereleases=True):
            return False
    return True


def pip_ensure(
    requirements,
    constraints=None,
    skip_packages=None,
    prompt_install=True,
    prompt_restart=True,
    requester=None,
    skip_in_testing=True,
    show_progress=True,
):
    missing = [one for one in _listed(requirements) if not pip_check(one)]
    if not missing:
        return None
    if prompt_install and not answers.ask("slicer.packaging.pip_ensure", "Install " + ", ".join(missing), False):
        raise RuntimeError("User declined package installation")
    return pip_install(missing, constraints, skip_packages=skip_packages, requester=requester)


def pip_install(
    requirements,
    constraints=None,
    no_deps_requirements=None,
    skip_packages=None,
    blocking=True,
    show_progress=True,
    requester=None,
    logCallback=None,
    completedCallback=None,
):
    options = {"constraints": constraints, "skip_packages": skip_packages, "requester": requester}
    requests.append(Request("pip_install", _listed(requirements), options))
    if outcome is not None:
        raise outcome
    if completedCallback is not None:
        completedCallback(0)
    return [] if skip_packages else None


def pip_uninstall(requirements, blocking=True, logCallback=None, completedCallback=None):
    requests.append(Request("pip_uninstall", _listed(requirements)))


def isPipInstallInProgress() -> bool:
    return False


def load_requirements(path):
    from packaging.requirements import Requirement

    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("-")]


def make_module() -> types.ModuleType:
    module = types.ModuleType("slicer.packaging")
    functions = (pip_check, pip_ensure, pip_install, pip_uninstall, isPipInstallInProgress, load_requirements)
    for function in functions:
        setattr(module, function.__name__, function)
    return module
