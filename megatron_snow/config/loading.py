"""YAML to a checked Recipe: strict keys, `--set` overrides, one message for all that is wrong.

A recipe can be another one with a few keys changed, as an ablation is: a file of `base: FILE` (beside it) and
`set:` with the keys as `--set` takes them. Its name is the file's, its workspace the base's.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from megatron_snow.common.errors import UserError, nearest
from megatron_snow.common.files import atomic_file
from megatron_snow.config.checks import check_recipe
from megatron_snow.config.presets import expand_preset
from megatron_snow.config.schema import Recipe


class _Problems(list[str]):
    """Collects messages, each naming the key and the value."""

    def add(self, key: str, message: str) -> None:
        self.append(f"{key}: {message}")


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read, override and check a recipe; UserError with every problem at once."""
    path = Path(path)
    tree = _read_tree(path)
    for override in overrides:
        _override(tree, override)
    problems = _Problems()
    if unknown := expand_preset(tree):
        problems.add(*unknown)
    recipe = _build(Recipe, tree, "", problems)
    if not problems:
        problems.extend(f"{key}: {message}" for key, message in check_recipe(recipe))
    if problems:
        raise UserError("\n  ".join([f"{path}: {len(problems)} problem{'s' * (len(problems) > 1)} in the recipe", *problems]))
    return recipe


def recipe_to_dict(recipe: Any) -> dict[str, Any]:
    """Plain dicts, lists and scalars of any dataclass of the recipe."""
    return _plain(dataclasses.asdict(recipe))


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write the resolved recipe, every default spelled out; `load_recipe` reads it back equal."""
    with atomic_file(path) as file:
        yaml.safe_dump(recipe_to_dict(recipe), file, sort_keys=False, allow_unicode=True)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _read_tree(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The keys of a file, or those of its base with its own put over them; `above`: the files that led here."""
    tree = _read_yaml(path)
    if "base" not in tree:
        return tree
    base, changes, others = tree["base"], tree.get("set", {}), [key for key in tree if key not in ("base", "set")]
    if not isinstance(base, str) or not isinstance(changes, dict) or others:
        told = f"; {', '.join(map(str, others))}: belongs under set" if others else ""
        raise UserError(f"{path}: beside `base: FILE` there is only `set:`, a mapping of dotted keys to values{told}")
    if path.resolve() in above:
        raise UserError(f"{path}: its base leads back to itself: {' -> '.join(file.name for file in (*above, path))}")
    tree = _read_tree(path.parent / base, (*above, path.resolve())) | {"name": path.stem}
    for key, value in changes.items():
        _set(tree, str(key), value, f"{path}: set {key}")
    return tree


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such recipe; examples/recipes/ holds those that come with the project") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict):
        raise UserError(f"{path}: a recipe is a mapping of keys, this is {type(tree).__name__}")
    return tree


def _override(tree: dict[str, Any], override: str) -> None:
    """Apply 'a.b=value'."""
    keys, equals, text = override.partition("=")
    if not equals or not keys:
        raise UserError(f"--set {override}: expected key=value, for example --set training.global_batch_size=64")
    _set(tree, keys, _value_of(text, override), f"--set {override}")


def _set(tree: dict[str, Any], keys: str, value: Any, told: str) -> None:
    """Put a value in its place; a list's item is addressed by its number or its name (phases.general.tokens). `told`: who says so."""
    if keys == "model.preset":  # another model: nothing of the one before stays
        tree["model"] = {}
    node: Any = tree
    *parents, last = keys.split(".")
    for key in parents:
        node = _child(node, key, told)
    node[_position(node, last, told) if isinstance(node, list) else last] = value


def _value_of(text: str, override: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"--set {override}: not a YAML value: {' '.join(str(error).split())}") from error


def _child(node: Any, key: str, told: str) -> Any:
    if isinstance(node, list):
        return node[_position(node, key, told)]
    child = node.setdefault(key, {})
    if not isinstance(child, (dict, list)):
        raise UserError(f"{told}: {key} is the value {child!r}, it has no keys of its own")
    return child


def _position(items: list[Any], key: str, told: str) -> int:
    names = [item.get("name", str(number)) if isinstance(item, dict) else str(number) for number, item in enumerate(items)]
    if key in names:
        return names.index(key)
    if key.isdigit() and int(key) < len(items):
        return int(key)
    raise UserError(f"{told}: no item {key!r}; there are {', '.join(names)}")


def _build(kind: Any, value: Any, key: str, problems: _Problems) -> Any:
    """Turn a YAML value into `kind`, noting what does not fit."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _build_dataclass(kind, value, key, problems)
    origin = get_origin(kind)
    if origin is Literal:
        if value not in get_args(kind):
            problems.add(
                key, f"{value!r} is not one of {', '.join(map(str, get_args(kind)))}{nearest(str(value), map(str, get_args(kind)))}"
            )
        return value
    if origin is tuple:
        if not isinstance(value, list):
            problems.add(key, f"{value!r} is not a list")
            return ()
        return tuple(_build(get_args(kind)[0], item, f"{key}[{number}]", problems) for number, item in enumerate(value))
    if origin in (Union, types.UnionType):
        return None if value is None else _build(get_args(kind)[0], value, key, problems)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            problems.add(key, f"{value!r} is not a mapping")
            return {}
        return {str(name): _build(get_args(kind)[1], item, f"{key}.{name}", problems) for name, item in value.items()}
    return _build_scalar(kind, value, key, problems)


def _build_dataclass(kind: type, value: Any, key: str, problems: _Problems) -> Any:
    if not isinstance(value, dict):
        problems.add(key or "recipe", f"{value!r} is not a mapping of {kind.__name__} keys")
        return None
    fields = {field.name: field for field in dataclasses.fields(kind)}
    hints = get_type_hints(kind)
    dot = f"{key}." if key else ""
    for name in value:
        if name not in fields:
            problems.add(f"{dot}{name}", f"unknown key{nearest(str(name), fields)}")
    for name, field in fields.items():
        if name not in value and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            problems.add(f"{dot}{name}", "missing; it has no default")
    given = {name: _build(hints[name], item, f"{dot}{name}", problems) for name, item in value.items() if name in fields}
    return None if problems else kind(**given)


_NAMES_OF_KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def _build_scalar(kind: type, value: Any, key: str, problems: _Problems) -> Any:
    if kind is float and isinstance(value, str):  # YAML 1.1 reads 1e-5 as text
        try:
            return float(value)
        except ValueError:
            pass
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        problems.add(key, f"{value!r} is not {_NAMES_OF_KINDS[kind]}")
    return value
