"""What a key has signed, and what runs of it. Folders are signed by `openssl` here, as anyone can."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from liquid_memory import SignatureError, _native, kernels

#: The public key of RFC 8410, section 10.1, as PEM has it: nobody here has its private key.
OTHER_KEY = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="

#: Loads the extension as a process of its own would, without PyTorch, and says what was refused.
PROGRAM = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("_native", sys.argv[1])
native = importlib.util.module_from_spec(spec)
spec.loader.exec_module(native)
sizes = {"batch": 1, "tokens": 1, "heads": 1, "width": 64}
pointers = dict.fromkeys(("q", "k", "v", "g", "beta", "initial", "output", "last", "saved", "work"), 0)
forward = {"sizes": sizes, "scale": 1.0, "erase": True, "precise": False}
forward |= pointers | dict.fromkeys(("q_stride", "k_stride", "v_stride"), 64)

def run():
    native.gated_delta({"device": 63, "stream": 0}, forward)

for step in (run, lambda: native.require_signature(sys.argv[2]), run):
    try:
        step()
        print("passed")
    except Exception as error:
        print(type(error).__name__, error)
print("keeps" if native.keep_kernels_in(sys.argv[3]) else "keeps nothing")
"""


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


class Signed:
    """A folder as a wheel has it: kernels, a module and what was signed of them."""

    def __init__(self, folder: Path, key: Path) -> None:
        self.folder, self.key = folder / "liquid_memory", key
        for name, text in _native.kernel_files():
            self.write(name, text)
        self.write("__init__.py", "")
        self.sign()
        self.write("__pycache__/__init__.cpython-311.pyc", "what Python adds after signing")
        _openssl("pkey", "-in", key, "-pubout", "-out", folder / "key.pub")
        self.public_key = (folder / "key.pub").read_text()

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def sign(self) -> None:
        paths = sorted((str(path.relative_to(self.folder)), path) for path in self.folder.rglob("*") if path.is_file())
        lines = [
            f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}\n"
            for name, path in paths
            if not name.startswith(("SHA256SUMS", "__pycache__"))
        ]
        sums = self.folder / "SHA256SUMS"
        sums.write_text("".join(lines))
        _openssl("pkeyutl", "-sign", "-inkey", self.key, "-rawin", "-in", sums, "-out", f"{sums}.sig")


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    path = tmp_path_factory.mktemp("key") / "key.pem"
    _openssl("genpkey", "-algorithm", "ed25519", "-out", path)
    return path


@pytest.fixture
def signed(tmp_path, key):
    return Signed(tmp_path, key)


def test_what_was_signed_verifies_by_the_key_as_pem_and_as_its_line(signed):
    line = signed.public_key.splitlines()[1]
    assert _native.verify(signed.folder, signed.public_key) == _native.verify(signed.folder, line)
    files, fingerprint = _native.verify(signed.folder, line)
    assert files == len(_native.kernel_files()) + 1 and len(fingerprint) == 64


def test_another_key_and_no_key_are_refused(signed):
    with pytest.raises(SignatureError, match=r"SHA256SUMS.sig: not made over this SHA256SUMS by the key"):
        _native.verify(signed.folder, OTHER_KEY)
    with pytest.raises(SignatureError, match="no Ed25519 public key"):
        _native.verify(signed.folder, "")


def _wrong_byte(signed):
    path = signed.folder / "kernel_sources/scan.cu"
    path.write_bytes(path.read_bytes()[:-1] + b"X")
    return "kernel_sources/scan.cu: sha256 is"


def _missing(signed):
    (signed.folder / "kernel_sources/transformer/gemm.cu").unlink()
    return "kernel_sources/transformer/gemm.cu: not found"


def _extra(signed):
    signed.write("kernel_sources/extra.cu", "")
    return "kernel_sources/extra.cu: not in SHA256SUMS"


def _other_kernel_is_signed(signed):
    signed.write("kernel_sources/scan.cu", "another text than the extension would compile")
    signed.sign()
    return "kernel_sources/scan.cu: sha256 is"


def _kernel_is_not_signed(signed):
    (signed.folder / "kernel_sources/step.cu").unlink()
    signed.sign()
    return "kernel_sources/step.cu: not in SHA256SUMS"


def _not_signed(signed):
    (signed.folder / "SHA256SUMS.sig").unlink()
    return "SHA256SUMS.sig: not found, so nothing is signed"


CHANGES = [_wrong_byte, _missing, _extra, _other_kernel_is_signed, _kernel_is_not_signed, _not_signed]


@pytest.mark.parametrize("change", CHANGES)
def test_each_change_is_refused_by_name(signed, change):
    wanted = change(signed)
    with pytest.raises(SignatureError) as refused:
        _native.verify(signed.folder, signed.public_key)
    assert wanted in str(refused.value) and str(signed.folder) in str(refused.value)


def _run(signed: Signed, tmp_path: Path, key: str | None) -> list[str]:
    """What a process says of a kernel before and after it has asked for the signature."""
    variables = {} if key is None else {"LIQUID_MEMORY_REQUIRE_SIGNATURE": key}
    command = [sys.executable, "-c", PROGRAM, _native.__file__, signed.folder, tmp_path / "kept"]
    return subprocess.run(command, env=variables, check=True, capture_output=True, text=True).stdout.splitlines()


def test_no_kernel_runs_before_the_required_key_has_verified_it(signed, tmp_path):
    before, asked, after, keeps = _run(signed, tmp_path, signed.public_key)
    assert before.startswith("SignatureError") and "have not been verified" in before
    assert asked == "passed"
    # The kernel may run now: what stops it is the missing GPU.
    assert after.startswith("KernelError")
    assert keeps == "keeps nothing"


@pytest.mark.parametrize("required", [OTHER_KEY, "no key", ""])
def test_no_kernel_runs_that_another_key_has_signed(signed, tmp_path, required):
    before, asked, after, _ = _run(signed, tmp_path, required)
    for said in (before, asked, after):
        assert said.startswith("SignatureError"), said


def test_without_a_required_key_nothing_is_checked(signed, tmp_path):
    _extra(signed)
    before, asked, after, keeps = _run(signed, tmp_path, None)
    assert before.startswith("KernelError") and asked == "passed" and after.startswith("KernelError")
    assert keeps == "keeps"


def test_the_package_of_a_source_tree_is_not_signed():
    with pytest.raises(SignatureError, match="nothing is signed"):
        _native.verify(kernels.PACKAGE, OTHER_KEY)
