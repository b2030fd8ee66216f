"""What the documentation site takes from outside docs/: files of the project that guides link to, notebooks, and a page of
public names. mkdocs calls these functions (`hooks` in mkdocs.yml)."""

import ast
import os
import re
from pathlib import Path

from mkdocs.plugins import event_priority
from mkdocs.structure.files import File

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "docs/README.md": "guides.md",
    "notebooks": "notebooks/1_images.ipynb",
}
"""file of the repository -> page of the site, where they differ by more than docs/"""

LINK = re.compile(r"(\]\()([^)#:\s]+)((?:#[^)]*)?\))")
API = """# Public names

`import closer_tf` loads no Keras; each name is imported when it is first used.

"""


@event_priority(100)  # before mkdocs-jupyter takes the notebooks
def on_files(files, config):
    """Add the pages and the pictures that lie outside docs/."""
    for name, page in PAGES.items():
        if (REPOSITORY / name).is_file() and files.get_file_from_path(page) is None:
            files.append(File.generated(config, page, content=(REPOSITORY / name).read_text()))
    for path in sorted((REPOSITORY / "notebooks").glob("*.ipynb")):
        files.append(File(f"notebooks/{path.name}", str(REPOSITORY), config.site_dir, config.use_directory_urls))
    files.append(File.generated(config, "api.md", content=API + "\n".join(map(_entry, *zip(*sorted(public_names().items()))))))
    for page in [page for page in files if page.src_uri.endswith(".md")]:
        for _, link, _ in LINK.findall(page.content_string):
            target = _target(page.src_uri, link)
            if target.suffix not in (".md", ".ipynb") and (REPOSITORY / target).is_file() and target.parts[0] != "docs":
                if files.get_file_from_path(target.as_posix()) is None:
                    files.append(File.generated(config, target.as_posix(), abs_src_path=str(REPOSITORY / target)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Turn links between files of the repository into links between pages of the site."""
    if page.file.src_uri.endswith(".ipynb"):
        return markdown

    def to_site(link):
        target = _target(page.file.src_uri, link[2]).as_posix()
        return f"{link[1]}{PAGES.get(target, target.removeprefix('docs/'))}{link[3]}"

    return LINK.sub(to_site, markdown)


def _target(page, link):
    """The file of the repository that a link on a page means."""
    source = next((name for name, other in PAGES.items() if other == page), f"docs/{page}")
    return Path(os.path.normpath(Path(source).parent / link))


def public_names():
    """dict name -> module of closer_tf, read from the package's text."""
    tree = ast.parse((REPOSITORY / "closer_tf" / "__init__.py").read_text())
    return next(ast.literal_eval(node.value) for node in tree.body if _assigns(node, "_PUBLIC"))


def _assigns(node, name):
    return isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == name


def _entry(name, module):
    return f"::: closer_tf.{module}.{name}\n"
