"""Make the pictures of the terminal, the report and TensorBoard in docs/figures.

    python scripts/docs/screenshots.py [--work FOLDER] [--only sweep report tensorboard]

Runs the sweeps of the tutorial in a terminal of tmux, and looks at the rest with a
headless Chromium. A folder that is named with --work keeps the runs, so that they need
not be trained again.
"""

import argparse
import io
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from PIL import Image
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ROOT / "docs" / "figures"
PYTHON = sys.executable
COLUMNS, LINES = 92, 66
SESSION = "normlab-screenshots"
SWEEP = (
    "train.py -m norm=none,custom,layer 'seed=range(8)' optimizer.lr=1 "
    "group=high-rate hydra/launcher=queue"
)
COMPARE = "scripts/compare.py outputs/high-rate --by norm --baseline none --out report"
MOST_BYTES = 300_000

THEME = TerminalTheme(
    (24, 28, 33),
    (215, 220, 226),
    [
        (60, 66, 73),
        (235, 110, 100),
        (120, 200, 130),
        (225, 190, 100),
        (105, 175, 235),
        (200, 150, 225),
        (95, 200, 210),
        (215, 220, 226),
    ],
    [
        (120, 128, 138),
        (250, 135, 125),
        (145, 220, 155),
        (240, 210, 130),
        (135, 195, 245),
        (215, 175, 235),
        (125, 220, 230),
        (240, 243, 246),
    ],
)
# rich's own template loads a font from the network.
SVG = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
  font-size: {char_height}px;
  line-height: {line_height}px;
}}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})"
   clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, help="folder that keeps the runs")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=("sweep", "report", "tensorboard"),
        default=["sweep", "report", "tensorboard"],
        help="make these pictures alone",
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = (options.work or Path(temporary)).resolve()
        prepare(work)
        FIGURES.mkdir(exist_ok=True)
        if "sweep" in options.only or not (work / "outputs" / "high-rate").is_dir():
            picture_of_sweep(work)
        if "report" in options.only:
            picture_of_report(work)
        if "tensorboard" in options.only:
            picture_of_tensorboard(work)


def prepare(work: Path) -> None:
    """A folder in which the commands of the tutorial work."""
    work.mkdir(parents=True, exist_ok=True)
    for name in ("train.py", "scripts"):
        if not (work / name).exists():
            (work / name).symlink_to(ROOT / name)


def picture_of_sweep(work: Path) -> None:
    """The terminal while the sweep runs, and when it has ended."""
    shutil.rmtree(work / "outputs" / "high-rate", ignore_errors=True)
    done = work / "done"
    done.unlink(missing_ok=True)
    command = f"clear; {PYTHON} {SWEEP}; touch {shlex.quote(str(done))}; sleep 600"
    size = ["-x", str(COLUMNS), "-y", str(LINES)]
    _tmux("new-session", "-d", "-s", SESSION, *size, "-c", str(work), command)
    try:
        while "12/24" not in (screen := _screen()):
            time.sleep(0.2)
        save_terminal(screen, FIGURES / "sweep-running.svg")
        while not done.exists():
            time.sleep(0.5)
        time.sleep(1)
        save_terminal(_screen(), FIGURES / "sweep.svg")
    finally:
        _tmux("kill-session", "-t", SESSION)


def _tmux(*words: str) -> str:
    done = subprocess.run(["tmux", *words], check=True, capture_output=True, text=True)
    return done.stdout


def _screen() -> str:
    return _tmux("capture-pane", "-e", "-p", "-t", SESSION).rstrip("\n")


def save_terminal(screen: str, path: Path) -> None:
    """A screen with its colours as SVG, below the command as a reader types it."""
    console = Console(
        record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True
    )
    console.print(Text.assemble(("$ ", "green"), f"python {SWEEP}"))
    console.print(Text.from_ansi(screen))
    console.save_svg(
        str(path), title="normlab", theme=THEME, code_format=SVG, unique_id="terminal"
    )
    print(f"{path.name}: {path.stat().st_size // 1000} kB")


def picture_of_report(work: Path) -> None:
    """The first screen of the report."""
    subprocess.run([PYTHON, *shlex.split(COMPARE)], cwd=work, check=True)
    page = (work / "report" / "report.html").as_uri()
    screenshot(page, FIGURES / "report.png", (1100, 1400))


def picture_of_tensorboard(work: Path) -> None:
    """The time series of the validation accuracy."""
    port = _free_port()
    address = f"http://localhost:{port}"
    command = [
        *(str(Path(PYTHON).parent / "tensorboard"), "--logdir", "outputs/high-rate"),
        *("--port", str(port), "--reload_interval", "0", "--load_fast", "false"),
    ]
    with subprocess.Popen(command, cwd=work, stderr=subprocess.DEVNULL) as server:
        try:
            _wait_for(address)
            query = "darkMode=false&smoothing=0&tagFilter=%5E(train%7Cval)%2F"
            groups = "runColorGroup=regex%3A%28none%7Ccustom%7Clayer%29"
            page = f"{address}/?{query}&{groups}#timeseries"
            save = FIGURES / "tensorboard.png"
            screenshot(page, save, (1280, 980), 20, without_settings)
        finally:
            server.terminate()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def _wait_for(address: str) -> None:
    for _ in range(120):
        try:
            urlopen(address, timeout=5).close()
            return
        except (URLError, OSError):
            time.sleep(0.5)
    raise RuntimeError(f"{address} did not answer within a minute")


@contextmanager
def _browser(size: tuple[int, int]) -> Iterator[Any]:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for option in (
        *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
        f"--window-size={size[0]},{size[1]}",
    ):
        options.add_argument(option)
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield driver
    finally:
        driver.quit()


def without_settings(driver: Any) -> None:
    """Switch TensorBoard's tables below the curves off, and close its settings."""
    from selenium.webdriver.common.by import By

    tables = "//label[contains(., 'Enable step selection')]"
    driver.find_element(By.XPATH, tables).click()
    driver.find_element(By.XPATH, "//button[contains(., 'Settings')]").click()
    time.sleep(3)


def screenshot(
    address: str,
    path: Path,
    size: tuple[int, int],
    seconds: float = 2,
    change: Callable[[Any], None] = lambda driver: None,
) -> None:
    """Save what a page shows after some seconds, in few enough colours to be small."""
    with _browser(size) as driver:
        driver.get(address)
        time.sleep(seconds)
        change(driver)
        picture = Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")
    picture.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
    if path.stat().st_size > MOST_BYTES:
        raise RuntimeError(f"{path} has more than {MOST_BYTES} bytes")
    print(f"{path.name}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
