"""infra/ as pycep-parser reads it, a parser of Bicep that Checkov uses."""

import os
import re
from pathlib import Path

import pytest
from pycep import BicepParser

INFRA = Path(os.environ["INFRA"])
TEMPLATES = sorted(INFRA.rglob("*.bicep"))
PARAMETERS = sorted(INFRA.glob("*.bicepparam"))

# How the parser names each kind of declaration.
KINDS = {
    "param": "parameters",
    "var": "variables",
    "resource": "resources",
    "module": "modules",
    "output": "outputs",
}


def declared(text: str, kind: str) -> set[str]:
    """The names at the beginning of lines, which is where declarations stand."""
    return set(re.findall(rf"^{kind} (\w+)", text, flags=re.MULTILINE))


def test_there_are_templates_and_parameters_files():
    assert INFRA / "main.bicep" in TEMPLATES
    assert len(TEMPLATES) > 10
    assert len(PARAMETERS) == 2


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_a_template_holds_what_it_declares(path: Path):
    text = path.read_text()
    parsed = BicepParser().parse(text=text)
    for kind, key in KINDS.items():
        assert set(parsed.get(key, {})) == declared(text, kind), kind


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_every_resource_has_a_version(path: Path):
    parsed = BicepParser().parse(text=path.read_text())
    for name, resource in parsed.get("resources", {}).items():
        version = resource["api_version"]
        assert re.fullmatch(r"\d{4}-\d{2}-\d{2}(-preview)?", version), name


@pytest.mark.parametrize("path", PARAMETERS, ids=lambda path: path.name)
def test_a_parameters_file_is_made_of_expressions(path: Path):
    # The parser knows templates only, where variables are assigned in the same way.
    text = path.read_text().replace("using 'main.bicep'", "")
    text = re.sub(r"^param ", "var ", text, flags=re.MULTILINE)
    parsed = BicepParser().parse(text=text)
    assert set(parsed["variables"]) == declared(text, "var")


def test_what_is_no_bicep_is_refused():
    with pytest.raises(Exception):
        BicepParser().parse(text="resource x = {")
