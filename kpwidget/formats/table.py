"""The one table of formats: what each is called, which functions do it, what it keeps and loses.

The tables of ``docs/formats.md`` are made of it (``docs/make_tables.py``), and tests read and write
files to see that it is true.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

__all__ = ["BUILT_IN", "FIELDS", "Format", "fields_table", "formats_table"]

FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "images": ("images", "image file names"),
    "image sizes": ("image sizes",),
    "categories": ("categories", "category names", "category keypoint names"),
    "skeletons": ("category skeletons",),
    "flip pairs": ("category flip pairs",),
    "sigmas": ("category sigmas",),
    "colors": ("category colors",),
    "supercategories": ("category supercategories",),
    "instances": ("instances", "instance categories", "order of instances"),
    "coordinates": ("keypoint coordinates",),
    "visibility": ("visibilities",),
    "unlabeled locations": ("unlabeled locations",),
    "bbox": ("bbox",),
    "area": ("area",),
    "crowds": ("iscrowd",),
    "tracks": ("track_id",),
    "scores": ("score",),
    "ids": ("annotation ids", "image ids", "category ids"),
    "unknown fields": ("annotation field *", "image field *", "category field *", "top-level *"),
    "info and licenses": ("info", "licenses"),
    "other records": ("other image records", "other categories", "other annotations"),
}
"""What a dataset holds, in the words of the table: for each the fields of a `RoundtripReport` that
are it, where a star stands for any ending."""


@dataclass(frozen=True)
class Format:
    """One row of the table of formats.

    Attributes
    ----------
    name : str
        What `read` and `write` call it.
    description : str
        For people, in one line.
    extensions : tuple of str
        Endings of its files, with the dot, in lower case.
    module : str
        Module with the functions; imported when the format is used.
    reader : str
        Name of a function ``(path, images, *, on_error, allow_outside, **options)`` that returns a
        Dataset.
    writer : str
        Name of a function ``(dataset, path, **options)`` that returns a `WriteReport`.
    losses : str
        Name of a function ``(dataset, **options)`` that returns a list of `Loss`: what a file of
        this format could not hold of the dataset.
    is_of : str
        Name of a function ``(path)`` that says by a look at the content whether this is a file or
        folder of the format. It does not raise for content of any kind.
    is_folder : bool
        Whether `path` may be a folder.
    has_ids : bool
        Whether a file has annotation ids, so that new instances are given theirs when written.
    needs : str
        A module of a package that is not always installed, without which it does nothing.
    keeps : mapping of str to str
        What is as it was when a dataset is written and read again: names of `FIELDS`, each with how
        or on what condition, in words; an empty text says always.
    loses : mapping of str to str
        What is gone or changed, likewise, with what becomes of it. A field of which some is kept
        and some lost stands in both; every one of `FIELDS` in at least one, for a format that
        comes with kpwidget.
    """

    name: str
    description: str
    extensions: tuple[str, ...]
    module: str
    reader: str
    writer: str
    losses: str
    is_of: str
    is_folder: bool = False
    has_ids: bool = False
    needs: str = ""
    keeps: Mapping[str, str] = field(default_factory=dict, hash=False)
    loses: Mapping[str, str] = field(default_factory=dict, hash=False)


def fields_table(row: Format) -> str:
    """Table of what a format keeps and loses, field by field.

    Parameters
    ----------
    row : Format

    Returns
    -------
    str
        Markdown.
    """
    whole = [name for name in FIELDS if row.keeps.get(name) == "" and name not in row.loses]
    gone = [name for name in FIELDS if row.loses.get(name) == "" and name not in row.keeps]
    lines = [f"Kept: {', '.join(whole) or 'nothing as it is'}."]
    if gone:
        lines.append(f"Lost: {', '.join(gone)}.")
    lines += ["", "| in part | kept | lost |", "|---|---|---|"]
    for name in FIELDS:
        if name not in whole and name not in gone:
            kept, lost = (_cell(said, name) for said in (row.keeps, row.loses))
            lines.append(f"| {name} | {kept} | {lost} |")
    return "\n".join(lines if len(whole) + len(gone) < len(FIELDS) else lines[:-3])


def formats_table(rows: Iterable[Format]) -> str:
    """Table of all formats: what each is, and what it keeps whole, in part, and not at all.

    Parameters
    ----------
    rows : iterable of Format

    Returns
    -------
    str
        Markdown.
    """
    lines = ["| format | is | in part | lost |", "|---|---|---|---|"]
    for row in rows:
        partly = [name for name in FIELDS if name in row.keeps and name in row.loses]
        lost = [name for name in FIELDS if name not in row.keeps]
        described = row.description.replace("|", "\\|")
        lines.append(
            f"| `{row.name}` | {described} | {', '.join(partly)} | {', '.join(lost) or 'nothing'} |"
        )
    return "\n".join(lines)


def _cell(said: Mapping[str, str], name: str) -> str:
    return said[name] or "else" if name in said else ""


_CVAT_KEEPS: Final = {
    "images": "",
    "image sizes": "",
    "categories": "",
    "skeletons": "",
    "colors": "",
    "instances": "",
    "coordinates": "",
    "visibility": "0, 1 and 2",
    "unlabeled locations": "",
    "bbox": "that were a rectangle in the group of the skeleton in a file of CVAT",
    "ids": "of images, if they are whole numbers",
    "unknown fields": "`cvat`, which the reader makes: attributes, other shapes, `<meta>`",
}
_CVAT_LOSES: Final = {
    "flip pairs": "",
    "sigmas": "",
    "supercategories": "",
    "visibility": "confidences: visible",
    "bbox": "any other, and those of another of the two formats",
    "area": "",
    "crowds": "become single instances",
    "scores": "",
    "ids": "of annotations and categories",
    "unknown fields": "any other",
    "info and licenses": "",
    "other records": "",
}

BUILT_IN: Final = (
    Format(
        "coco",
        "COCO keypoints: one JSON file",
        (".json",),
        "kpwidget.formats.coco",
        "read_coco",
        "write_coco",
        "coco_losses",
        "is_coco",
        has_ids=True,
        keeps=dict.fromkeys(FIELDS, ""),
    ),
    Format(
        "coco-results",
        "COCO results: predictions with scores, one JSON list",
        (".json",),
        "kpwidget.formats.coco_results",
        "read_coco_results",
        "write_coco_results",
        "coco_results_losses",
        "is_coco_results",
        keeps={
            "images": "",
            "image sizes": "",
            "categories": "",
            "skeletons": "",
            "flip pairs": "",
            "sigmas": "",
            "colors": "",
            "supercategories": "",
            "instances": "",
            "coordinates": "",
            "visibility": "visible, and unlabeled at (0, 0)",
            "bbox": "if every instance was given one",
            "area": "",
            "tracks": "",
            "scores": "and those of the points, in `extra['keypoint_scores']`",
            "ids": "of images and categories",
            "unknown fields": "of predictions, images, categories and the top level",
            "info and licenses": "",
            "other records": "of images and categories",
        },
        loses={
            "visibility": "occluded becomes visible",
            "unlabeled locations": "become (0, 0)",
            "bbox": "if not every instance was given one",
            "crowds": "become single instances",
            "scores": "an instance without one gets 1",
            "ids": "of annotations",
            "unknown fields": "of instances that were read from another file",
            "other records": "annotations that are no instances",
        },
    ),
    Format(
        "yolo-pose",
        "Ultralytics YOLO pose: a folder with data.yaml, images and labels",
        (".yaml", ".yml"),
        "kpwidget.formats.yolo",
        "read_yolo",
        "write_yolo",
        "yolo_losses",
        "is_yolo",
        is_folder=True,
        keeps={
            "images": "",
            "image sizes": "read from the image files",
            "categories": "",
            "flip pairs": "if all categories agree on them",
            "sigmas": "if all categories agree on them",
            "instances": "grouped by image",
            "coordinates": "within 1e-6 px",
            "visibility": "0, 1 and 2, and any confidence between",
            "unlabeled locations": "inside the image, within 1e-6 px",
            "bbox": "within 1e-6 px",
            "area": "if it is that of the bbox",
            "unknown fields": "`split` of images; what `data.yaml` has room for of the top level",
        },
        loses={
            "images": "their order; a name may get `images/train/` before it",
            "image sizes": "of images without a label",
            "skeletons": "",
            "flip pairs": "if categories differ",
            "sigmas": "if categories differ",
            "colors": "",
            "supercategories": "",
            "instances": "left out: without bbox and labeled keypoint, with a centre of the bbox "
            "left of or above the image, the same as another",
            "coordinates": "more than 1 % outside the image: unlabeled, for Ultralytics would drop "
            "the image",
            "visibility": "with `keypoint_dims=2` 1 becomes 2, and unlabeled `-0.005 -0.005`, "
            "which Ultralytics takes for absent and other programs for a location",
            "unlabeled locations": "outside the image",
            "bbox": "digits below 1e-6 px",
            "area": "any other",
            "crowds": "left out",
            "tracks": "",
            "scores": "",
            "ids": "",
            "unknown fields": "of instances and categories; segmentation",
            "info and licenses": "",
            "other records": "",
        },
    ),
    Format(
        "cvat-images",
        "CVAT for images 1.1: one XML file",
        (".xml",),
        "kpwidget.formats.cvat",
        "read_cvat_images",
        "write_cvat_images",
        "cvat_images_losses",
        "is_cvat_images",
        keeps=_CVAT_KEEPS,
        loses=_CVAT_LOSES | {"instances": "grouped by image", "tracks": ""},
    ),
    Format(
        "cvat-video",
        "CVAT for video 1.1: one XML file, with tracks",
        (".xml",),
        "kpwidget.formats.cvat",
        "read_cvat_video",
        "write_cvat_video",
        "cvat_video_losses",
        "is_cvat_video",
        keeps=_CVAT_KEEPS
        | {
            "images": "named `frame_000010.png`",
            "image sizes": "if all have the same",
            "instances": "grouped by track",
            "ids": "of images, if they are the numbers of the frames",
            "tracks": "whole numbers, of one category and once in a frame",
            "unknown fields": "`cvat`, which the reader makes: attributes, tracks of other shapes",
        },
        loses=_CVAT_LOSES
        | {
            "images": "any other name",
            "image sizes": "if they differ",
            "instances": "their order; those without a labeled keypoint",
            "tracks": "any other: they get a number",
        },
    ),
    Format(
        "label-studio",
        "Label Studio: a JSON list of tasks, with label_config.xml beside it",
        (".json",),
        "kpwidget.formats.label_studio",
        "read_label_studio",
        "write_label_studio",
        "label_studio_losses",
        "is_label_studio",
        keeps={
            "images": "",
            "image sizes": "",
            "categories": "",
            "instances": "grouped by image",
            "coordinates": "within 1e-9 px",
            "visibility": "1 and 2, by a choice that is our convention; 0 is no region",
            "bbox": "within 1e-9 px",
            "scores": "of what a model has made, and of its points",
            "ids": "of images, if they are whole numbers",
            "unknown fields": "`label_studio`, which the reader makes: other regions, annotations",
        },
        loses={
            "skeletons": "",
            "flip pairs": "",
            "sigmas": "",
            "colors": "",
            "supercategories": "",
            "instances": "left out: without bbox and labeled keypoint",
            "coordinates": "digits below 1e-9 px",
            "visibility": "confidences: visible",
            "unlabeled locations": "",
            "bbox": "digits below 1e-9 px; a derived one becomes given",
            "area": "",
            "crowds": "become single instances",
            "tracks": "",
            "scores": "of what people have made",
            "ids": "of annotations and categories",
            "unknown fields": "any other",
            "info and licenses": "",
            "other records": "",
        },
    ),
    Format(
        "deeplabcut",
        "DeepLabCut: a project with config.yaml and tables (CSV, HDF5) of labels",
        (".csv", ".h5", ".yaml", ".yml"),
        "kpwidget.formats.deeplabcut",
        "read_deeplabcut",
        "write_deeplabcut",
        "deeplabcut_losses",
        "is_deeplabcut",
        is_folder=True,
        keeps={
            "images": "names `labeled-data/<folder>/<file>`, and that they are done without "
            "instances",
            "categories": "the one that most instances are of, and one called `single` with at "
            "most one instance in an image (DeepLabCut's unique body parts)",
            "skeletons": "of the categories that are written",
            "instances": "with a labeled keypoint, by their track_id",
            "coordinates": "",
            "visibility": "visible and unlabeled",
            "tracks": "names, each once in an image",
            "unknown fields": "`deeplabcut` and `deeplabcut_config` of the top level",
        },
        loses={
            "images": "other names and their order; with `images=\"leave\"` those that are neither "
            "labeled nor done",
            "image sizes": "",
            "categories": "all others, with their instances",
            "skeletons": "of the others",
            "flip pairs": "",
            "sigmas": "",
            "colors": "",
            "supercategories": "",
            "instances": "left out: of other categories, and without a labeled keypoint",
            "coordinates": "of instances left out",
            "visibility": "occluded becomes visible",
            "unlabeled locations": "",
            "bbox": "",
            "area": "",
            "crowds": "become single instances",
            "tracks": "numbers, and names that are twice in an image: `ind1`, `ind2`, ...",
            "scores": "",
            "ids": "",
            "unknown fields": "all others; comments of config.yaml",
            "info and licenses": "",
            "other records": "",
        },
    ),
    Format(
        "supervisely",
        "Supervisely: a project folder with meta.json and one JSON file for each image",
        (".json",),
        "kpwidget.formats.supervisely",
        "read_supervisely",
        "write_supervisely",
        "supervisely_losses",
        "is_supervisely",
        is_folder=True,
        keeps={
            "images": "",
            "image sizes": "",
            "categories": "",
            "skeletons": "",
            "colors": "if not all keypoints have the same",
            "instances": "grouped by image",
            "coordinates": "of whole pixels",
            "visibility": "0, 1 (a disabled node) and 2",
            "bbox": "of whole pixels, as a rectangle with the same binding key",
            "unknown fields": "`supervisely`: tags, other objects and classes",
        },
        loses={
            "images": "their order, and that they are done; a name becomes `<dataset>/img/<file>`",
            "colors": "if all keypoints have the same",
            "flip pairs": "",
            "sigmas": "",
            "supercategories": "",
            "instances": "their order in the whole",
            "coordinates": "fractions, rounded down",
            "visibility": "confidences become 2",
            "unlabeled locations": "",
            "bbox": "fractions: corners are rounded",
            "area": "",
            "crowds": "become single instances",
            "tracks": "",
            "scores": "",
            "ids": "",
            "unknown fields": "all others",
            "info and licenses": "",
            "other records": "",
        },
    ),
    Format(
        "labelme",
        "labelme: one JSON file for each image, beside it",
        (".json",),
        "kpwidget.formats.labelme",
        "read_labelme",
        "write_labelme",
        "labelme_losses",
        "is_labelme",
        is_folder=True,
        keeps={
            "images": "and that they are done",
            "image sizes": "",
            "categories": "in a field `kpwidget` of each file",
            "skeletons": "likewise",
            "flip pairs": "likewise",
            "sigmas": "likewise",
            "colors": "likewise",
            "supercategories": "likewise",
            "instances": "grouped by image",
            "coordinates": "",
            "visibility": "0, 1 (the flag `occluded`) and 2",
            "bbox": "",
            "area": "in the field `kpwidget`",
            "crowds": "likewise",
            "tracks": "likewise",
            "scores": "likewise",
            "ids": "likewise",
            "unknown fields": "likewise, of instances, images and categories",
        },
        loses={
            "images": "their order; with `images=\"leave\"` those that are neither labeled nor "
            "done",
            "image sizes": "of those",
            "instances": "their order in the whole",
            "visibility": "confidences become 2",
            "unlabeled locations": "",
            "ids": "of categories without instances",
            "categories": "if no image is written",
            "unknown fields": "of the top level",
            "info and licenses": "",
            "other records": "",
        },
    ),
    Format(
        "parquet",
        "Parquet: a table with a row for each instance, in one file or a folder of them",
        (".parquet",),
        "kpwidget.formats.parquet",
        "read_parquet",
        "write_parquet",
        "parquet_losses",
        "is_parquet",
        is_folder=True,
        needs="pyarrow",
        keeps={name: "" for name in FIELDS if name != "other records"},
        loses={"other records": ""},
    ),
    Format(
        "huggingface",
        "Hugging Face imagefolder: a folder with metadata.jsonl and image files",
        (".jsonl", ".csv"),
        "kpwidget.formats.imagefolder",
        "read_imagefolder",
        "write_imagefolder",
        "imagefolder_losses",
        "is_imagefolder",
        is_folder=True,
        keeps={
            "images": "",
            "image sizes": "",
            "categories": "in a file `categories.json`",
            "skeletons": "likewise",
            "flip pairs": "likewise",
            "sigmas": "likewise",
            "colors": "likewise",
            "supercategories": "likewise",
            "instances": "grouped by image",
            "coordinates": "",
            "visibility": "",
            "unlabeled locations": "",
            "bbox": "",
            "area": "",
            "crowds": "",
            "tracks": "",
            "scores": "",
            "ids": "",
            "unknown fields": "of categories",
        },
        loses={
            "images": "that they are done",
            "instances": "their order in the whole",
            "unknown fields": "all others, `split` of images, too",
            "info and licenses": "",
            "other records": "",
        },
    ),
    Format(
        "datumaro",
        "Datumaro JSON: one file, or a folder with annotations/<subset>.json",
        (".json",),
        "kpwidget.formats.datumaro",
        "read_datumaro",
        "write_datumaro",
        "datumaro_losses",
        "is_datumaro",
        is_folder=True,
        keeps={
            "images": "",
            "image sizes": "",
            "categories": "",
            "skeletons": "",
            "supercategories": "",
            "instances": "grouped by image",
            "coordinates": "",
            "visibility": "0, 1 and 2",
            "unlabeled locations": "",
            "bbox": "",
            "crowds": "",
            "tracks": "as an attribute",
            "scores": "as an attribute",
            "ids": "of images, and of annotations but 0",
            "unknown fields": "`datumaro`: attributes and other annotations; `split` of images",
        },
        loses={
            "images": "their order if there are several subsets, and that they are done",
            "flip pairs": "",
            "sigmas": "",
            "colors": "",
            "instances": "their order in the whole",
            "visibility": "confidences become 1 or 2",
            "area": "",
            "ids": "of categories",
            "unknown fields": "all others",
            "info and licenses": "",
            "other records": "",
        },
    ),
    Format(
        "via",
        "VGG Image Annotator 2: one JSON file",
        (".json",),
        "kpwidget.formats.via",
        "read_via",
        "write_via",
        "via_losses",
        "is_via",
        keeps={
            "images": "",
            "image sizes": "read from the image files",
            "categories": "in a field `kpwidget` of the file",
            "skeletons": "likewise",
            "flip pairs": "likewise",
            "sigmas": "likewise",
            "colors": "likewise",
            "supercategories": "likewise",
            "instances": "grouped by image",
            "coordinates": "",
            "visibility": "0, 1 and 2 as an attribute",
            "bbox": "",
            "ids": "of categories",
            "unknown fields": "`via`: other regions and attributes; those of categories",
        },
        loses={
            "images": "that they are done",
            "image sizes": "of images without a file",
            "instances": "their order in the whole; left out without keypoint and bbox",
            "visibility": "confidences become 2",
            "unlabeled locations": "",
            "area": "",
            "crowds": "become single instances",
            "tracks": "",
            "scores": "",
            "ids": "of images and annotations",
            "unknown fields": "all others",
            "info and licenses": "",
            "other records": "",
        },
    ),
    Format(
        "sleap",
        "SLEAP: one .slp file (HDF5)",
        (".slp", ".h5"),
        "kpwidget.formats.sleap",
        "read_sleap",
        "write_sleap",
        "sleap_losses",
        "is_sleap",
        needs="sleap_io",
        keeps={
            "images": "files in one list; frames of a video, if they have an instance and its name",
            "image sizes": "of frames of a video; else read from the image files",
            "categories": "",
            "skeletons": "",
            "flip pairs": "",
            "instances": "grouped by image",
            "coordinates": "",
            "visibility": "visible and unlabeled",
            "unlabeled locations": "",
            "tracks": "names",
            "scores": "and those of the keypoints",
            "unknown fields": "`keypoint_scores` of predictions, `sleap` of images",
        },
        loses={
            "images": "that they are done; a folder that all have in common",
            "image sizes": "of images without a file",
            "sigmas": "",
            "colors": "",
            "supercategories": "",
            "instances": "their order in the whole",
            "visibility": "occluded becomes visible",
            "bbox": "",
            "area": "",
            "crowds": "become single instances",
            "tracks": "numbers become text",
            "scores": "digits beyond those of float32",
            "ids": "",
            "unknown fields": "all others",
            "info and licenses": "",
            "other records": "",
        },
    ),
    Format(
        "nwb",
        "NWB with ndx-pose: one .nwb file (HDF5)",
        (".nwb",),
        "kpwidget.formats.nwb",
        "read_nwb",
        "write_nwb",
        "nwb_losses",
        "is_nwb",
        needs="ndx_pose",
        keeps={
            "images": "files in one list; frames of a video, if they have an instance and its name",
            "image sizes": "of frames of a video; else read from the image files",
            "categories": "",
            "skeletons": "",
            "instances": "grouped by image",
            "coordinates": "",
            "visibility": "0, 1 (a location that is not visible) and 2",
            "unknown fields": "`sleap` of images",
        },
        loses={
            "images": "that they are done; a folder that all have in common",
            "image sizes": "of images without a file",
            "categories": "their order; `/` and `:` in a name, which becomes `_`",
            "flip pairs": "",
            "sigmas": "",
            "colors": "",
            "supercategories": "",
            "instances": "their order in the whole",
            "visibility": "confidences become 2",
            "unlabeled locations": "",
            "bbox": "",
            "area": "",
            "crowds": "become single instances",
            "tracks": "",
            "scores": "",
            "ids": "",
            "unknown fields": "all others",
            "info and licenses": "",
            "other records": "",
        },
    ),
)  # fmt: skip
"""The formats that come with kpwidget, in the order of the documentation."""
