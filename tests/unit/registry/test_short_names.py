from __future__ import annotations

from pathlib import Path

import pytest

from pullet.oci.reference import ReferenceInvalidError
from pullet.registry.errors import HostsConfigError
from pullet.registry.short_names import ShortNames


def write(root: Path, text: str, name: str = "") -> ShortNames:
    file = root / "registries.conf"
    if name:
        (root / "registries.conf.d").mkdir(exist_ok=True)
        (root / "registries.conf.d" / name).write_text(text)
    else:
        file.write_text(text)
    return ShortNames(file)


ALIASES = '[aliases]\n"centos" = "quay.io/centos/centos"\n"ubi8/ubi" = "registry.example.com:5000/ubi8/ubi"\n'


@pytest.mark.parametrize(
    ("image", "full"),
    [
        ("centos", "quay.io/centos/centos"),
        ("centos:7", "quay.io/centos/centos:7"),
        (f"centos:7@sha256:{'0' * 64}", f"quay.io/centos/centos:7@sha256:{'0' * 64}"),
        ("ubi8/ubi:1", "registry.example.com:5000/ubi8/ubi:1"),
        ("nginx:1", "docker.io/library/nginx:1"),
        ("docker.io/library/centos", "docker.io/library/centos"),
        ("docker.io/centos", "docker.io/library/centos"),
        ("localhost/centos", "localhost/centos"),
        ("library/centos", "docker.io/library/centos"),
    ],
)
def test_aliases(tmp_path: Path, image: str, full: str) -> None:
    assert str(write(tmp_path, ALIASES).expand(image)) == full


def test_without_files(tmp_path: Path) -> None:
    assert str(ShortNames(None).expand("centos")) == "docker.io/library/centos"
    assert str(ShortNames(tmp_path / "registries.conf").expand("centos")) == "docker.io/library/centos"


def test_later_files_win_and_take_back(tmp_path: Path) -> None:
    names = write(tmp_path, ALIASES)
    write(tmp_path, '[aliases]\ncentos = "a.io/x"\ndebian = "a.io/debian"\n', "10-a.conf")
    write(tmp_path, '[aliases]\ncentos = "b.io/x"\n"ubi8/ubi" = ""\n', "20-b.conf")
    write(tmp_path, '[aliases]\ncentos = "c.io/x"\n', "30-c.toml")
    assert [str(names.expand(one)) for one in ("centos", "debian", "ubi8/ubi")] == [
        "b.io/x",
        "a.io/debian",
        "docker.io/ubi8/ubi",
    ]


def test_edits_are_seen(tmp_path: Path) -> None:
    names = write(tmp_path, '[aliases]\ncentos = "a.io/x"\n')
    assert names.expand("centos").domain == "a.io"
    write(tmp_path, '[aliases]\ncentos = "longer.io/x"\n')
    assert names.expand("centos").domain == "longer.io"
    (tmp_path / "registries.conf").unlink()
    assert names.expand("centos").domain == "docker.io"


def test_search_lists_mean_nothing(tmp_path: Path) -> None:
    names = write(tmp_path, 'unqualified-search-registries = ["quay.io"]\nshort-name-mode = "permissive"\n')
    assert str(names.expand("centos")) == "docker.io/library/centos"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[aliases", "registries.conf: "),
        ("aliases = 3", "`aliases` must be a table"),
        ("[aliases]\na = 3", "alias 'a': 3 is not a repository with its registry"),
        ('[aliases]\na = "library/b"', "alias 'a': 'library/b' is not a repository with its registry"),
        ('[aliases]\na = "a.io/b:1"', "alias 'a': 'a.io/b:1' is not"),
        ('[aliases]\na = "a.io/B"', "alias 'a': 'a.io/B' is not"),
    ],
)
def test_mistakes_are_named_and_harm_short_names_alone(tmp_path: Path, text: str, message: str) -> None:
    names = write(tmp_path, text)
    with pytest.raises(HostsConfigError) as caught:
        names.expand("centos")
    assert str(tmp_path) in str(caught.value)
    assert message in str(caught.value)
    assert str(names.expand("a.io/b")) == "a.io/b"


def test_what_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(ReferenceInvalidError):
        write(tmp_path, ALIASES).expand("Centos")
