"""The functions that the user's settings name: found by name, imported, and looked at."""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, Final

from app.callbacks.outcome import failed
from app.callbacks.signatures import misfit
from app.words import words

if TYPE_CHECKING:
    from app.settings import Settings  # a process for callbacks imports this module, and starts sooner without pydantic

NO_CALLBACK = words(
    "AGG_CALLBACK is not set: name your model as package.module:function "
    "(AGG_BATCH_CALLBACK in its place for one that takes many stations at once; of create_app: callback=, "
    "batch_callback=)",
    "AGG_CALLBACK 未设置：请以 package.module:function 的形式写出模型函数"
    "（一次处理多个场站的模型改用 AGG_BATCH_CALLBACK；create_app 的参数为 callback=、batch_callback=）",
)


Functions = Mapping[str, Callable[..., Any]]
"""Function objects by the field of `Settings` in whose place they stand, such as `callback`."""
NOTHING_GIVEN: Final[Functions] = MappingProxyType({})


class FunctionError(ValueError):
    """A setting that should name a function doesn't; the text names the setting and says what to do."""


def load_function(spec: str, setting: str, keyword: str | None = None) -> Callable[..., Any]:
    """Import the function that a setting names, and see whether it can be called as it will be.

    Args:
        spec: `package.module:function`; the part after the colon may be dotted, such as `models:Load.predict`.
        setting: the name of the setting, for error texts, such as `AGG_CALLBACK`.
        keyword: the one by which a program has given the name; None: it is the setting's.

    Raises:
        FunctionError: the form is wrong, the module can't be imported, there is no such callable in it, or it has
            another signature.
    """
    where = f"{setting}={spec}" if keyword is None else f"{keyword}={spec!r}"
    module_name, colon, attribute = spec.strip().partition(":")
    parts = attribute.split(".")
    if not colon or not all(module_name.split(".")) or not all(part.isidentifier() for part in parts):
        message = words(
            "{where}: this is not of the form package.module:function, such as models.load:callback",
            "{where}：不是 package.module:function 的形式，例如 models.load:callback",
            where=where,
        )
        raise FunctionError(message)
    found: Any = _import(module_name, where)
    path = module_name
    for separator, part in zip(":" + "." * len(parts), parts, strict=False):
        found = _attribute(found, part, path, where)
        path = f"{path}{separator}{part}"
    if not callable(found):
        message = words(
            "{where}: this is no function, it is of type {kind}; name a `def` or an `async def`",
            "{where}：不是函数，类型为 {kind}；请写 `def` 或 `async def` 函数",
            where=where,
            kind=type(found).__name__,
        )
        raise FunctionError(message)
    function: Callable[..., Any] = found
    if (problem := misfit(function, setting)) is not None:
        message = words("{where}: {problem}", "{where}：{problem}", where=where, problem=problem)
        raise FunctionError(message)
    return function


def _import(name: str, where: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except KeyboardInterrupt:
        raise  # a model may take long to load, and its user think better of it
    except BaseException as error:  # whatever a module raises, it can't be used
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            message = words(
                "{where}: there is no module {name}; start the worker in the folder that holds it, "
                "put that folder on PYTHONPATH, or install the package",
                "{where}：没有模块 {name}；请在其所在的文件夹中启动 worker，把该文件夹加入 PYTHONPATH，或安装该包",
                where=where,
                name=error.name,
            )
        else:
            message = words(
                "{where}: importing {name} failed with {error}; "
                "`python -c 'import {name}'` shows where, and must work before the worker can start",
                "{where}：导入 {name} 失败：{error}；`python -c 'import {name}'` 可显示出错位置，"
                "通过后 worker 才能启动",
                where=where,
                name=name,
                error=failed(error).value,
            )
        raise FunctionError(message) from error


def _attribute(owner: object, name: str, path: str, where: str) -> Any:
    try:
        return getattr(owner, name)
    except AttributeError as error:
        public = [other for other in dir(owner) if not other.startswith("_")]
        close = difflib.get_close_matches(name, public, n=3)
        if close:
            hint = words("did you mean {en}?", "是否想写 {zh}？", en=" or ".join(close), zh=" 或 ".join(close))
        else:
            hint = words("define it there, or correct the setting", "请在其中定义，或改正设置")
        message = words(
            "{where}: {path} has no attribute {name}; {hint}",
            "{where}：{path} 没有属性 {name}；{hint}",
            where=where,
            path=path,
            name=name,
            hint=hint,
        )
        raise FunctionError(message) from error
    except BaseException as error:  # a module may make its attributes when they are asked for
        message = words(
            "{where}: getting {name} of {path} failed with {error}",
            "{where}：取 {path} 的 {name} 失败：{error}",
            where=where,
            name=name,
            path=path,
            error=failed(error).value,
        )
        raise FunctionError(message) from error


def is_async(function: Callable[..., Any]) -> bool:
    """Tell whether a call makes a coroutine: of an `async def`, a partial of one, an object whose `__call__` is one."""
    while isinstance(function, functools.partial):
        function = function.func
    call = inspect.getattr_static(type(function), "__call__", None)
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


@dataclass(frozen=True, slots=True)
class UserFunctions:
    """The user's own functions, imported already.

    Attributes:
        callback: the model.
        result_handler: None: the default payload is published.
        many: the callback takes many stations at once.
        path: of the callback, as its setting has it; None where it was not found by one.
        station_result_handler: as `result_handler`, for pass-through stations.
    """

    callback: Callable[..., Any]
    result_handler: Callable[..., Any] | None = None
    many: bool = False
    path: str | None = None
    station_result_handler: Callable[..., Any] | None = None

    @property
    def setting(self) -> str:
        """The key that names the callback."""
        return "AGG_BATCH_CALLBACK" if self.many else "AGG_CALLBACK"

    @property
    def keyword(self) -> str:
        """The keyword by which a program gives the callback."""
        return "batch_callback" if self.many else "callback"

    @property
    def name(self) -> str:
        """The callback's name, for log lines."""
        return self.path or str(getattr(self.callback, "__qualname__", type(self.callback).__qualname__))

    @property
    def importable_path(self) -> str | None:
        """The `module:name` under which another process can import the callback; None if there is none.

        What a decorator has made has the name of what it decorates: that name leads to another function.
        """
        module, name = getattr(self.callback, "__module__", None), getattr(self.callback, "__qualname__", "<")
        if self.path or not module or module == "__main__" or "<" in name:
            return self.path
        found: Any = sys.modules.get(module)
        for part in name.split("."):
            found = getattr(found, part, None)
        return f"{module}:{name}" if found == self.callback else None

    def path_for_processes(self) -> str:
        """Return `importable_path`, which AGG_EXECUTOR=process needs.

        Raises:
            FunctionError: there is none.
        """
        path = self.importable_path
        if path is None:  # only what a program has given by keyword has none
            message = words(
                "{keyword}={name}: can't be imported by another process, as AGG_EXECUTOR=process needs it; define it "
                "with `def` or `async def` at the top of a module that can be imported: not of a program that is "
                "started as `python program.py`, and without a decorator that puts another in its place",
                "{keyword}={name}：其他进程无法导入它，而 AGG_EXECUTOR=process 需要这样；请用 `def` 或 `async def` "
                "把它定义在可导入模块的顶层：不要在以 `python program.py` 启动的程序中，也不要用会替换它的装饰器",
                keyword=self.keyword,
                name=self.name,
            )
            raise FunctionError(message)
        return path


def find_functions(
    settings: Settings, given: Functions = NOTHING_GIVEN, keywords: Mapping[str, object] = NOTHING_GIVEN
) -> UserFunctions:
    """Take the functions that a program has given, and import the others that a worker needs.

    Args:
        settings: with their names.
        given: those that the program gave as objects.
        keywords: all that the program gave; an error names the one that has a bad name.

    Raises:
        FunctionError: no callback is named, a setting does not lead to a function, or processes could not import it.
    """

    def find(name: str) -> Callable[..., Any] | None:
        if name in given:
            return given[name]
        path: str | None = getattr(settings, name)
        keyword = name if path and keywords.get(name) == path else None
        return load_function(path, f"AGG_{name.upper()}", keyword) if path else None

    handler, station_handler = find("result_handler"), find("station_result_handler")
    many = settings.batch_callback is not None
    name = "batch_callback" if many else "callback"
    callback = find(name)
    if callback is None:
        raise FunctionError(NO_CALLBACK)
    path = None if name in given else getattr(settings, name)
    functions = UserFunctions(callback, handler, many=many, path=path, station_result_handler=station_handler)
    if settings.executor == "process":
        functions.path_for_processes()  # before anything starts
    return functions
