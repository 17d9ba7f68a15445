"""Notebooks as pages of the site, and the folder of their outputs."""

from docs import notebooks
from docs.commands import is_generated
from docs.notebooks import cache_of_outputs, write_pages


def test_notebooks_become_pages(tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "PAGES", tmp_path)
    write_pages()
    written = sorted(path.name for path in (tmp_path / "notebooks").iterdir())
    assert written == sorted(path.name for path in notebooks.NOTEBOOKS.glob("*.md"))
    assert is_generated("notebooks/01_covariate_shift")


def test_outputs_of_other_code_are_not_used(tmp_path, monkeypatch):
    source = tmp_path / "src" / "normlab"
    source.mkdir(parents=True)
    monkeypatch.setattr(notebooks, "ROOT", tmp_path)
    monkeypatch.setattr(notebooks, "CACHE", tmp_path / "cache")
    (source / "a.py").write_text("1")
    first = cache_of_outputs()
    first.mkdir(parents=True)
    assert cache_of_outputs() == first
    assert first.exists()
    (source / "a.py").write_text("2")
    assert cache_of_outputs() != first
    assert not first.exists()
