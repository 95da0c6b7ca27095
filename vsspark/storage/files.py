"""Files and folders on whatever file system Spark writes to, through Hadoop."""

from __future__ import annotations

from contextlib import closing

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from vsspark.errors import StorageError
from vsspark.spark import jvm


class Files:
    """Paths as Spark takes them: a local path, file:, s3a:// or another scheme of the session's Hadoop."""

    def __init__(self, spark: SparkSession):
        self._spark = spark

    def exists(self, path: str) -> bool:
        return self._system(path).exists(self._path(path))

    def delete(self, path: str) -> None:
        """Removes a file, or a folder with everything in it; one that is not there is no error."""
        self._system(path).delete(self._path(path), True)

    def delete_empty(self, folder: str) -> None:
        """Removes a folder that holds nothing; one that is not there or holds something stays as it is."""
        system = self._system(folder)
        if system.exists(self._path(folder)) and not system.listStatus(self._path(folder)):
            system.delete(self._path(folder), False)

    def move(self, source: str, target: str) -> None:
        """Raises StorageError where the file system refuses."""
        if not self._system(source).rename(self._path(source), self._path(target)):
            raise StorageError(f"could not move {source} to {target}")

    def listing(self, folder: str) -> list[tuple[str, float]]:
        """(name, modification time in seconds since 1970) of what is in a folder."""
        statuses = self._system(folder).listStatus(self._path(folder))
        return [(status.getPath().getName(), status.getModificationTime() / 1000) for status in statuses]

    def modified(self, path: str) -> float | None:
        """When a file was written, in seconds since 1970 by the clock of its file system; None where there is none."""
        try:
            return self._system(path).getFileStatus(self._path(path)).getModificationTime() / 1000
        except Py4JJavaError as error:
            if _java_class(error) != "java.io.FileNotFoundException":
                raise  # a store that does not answer has not said that there is none
            return None

    def names_below(self, folder: str) -> set[str]:
        """The names, without their folders, of all files below a folder."""
        names, files = set(), self._system(folder).listFiles(self._path(folder), True)
        while files.hasNext():
            names.add(files.next().getPath().getName())
        return names

    def etag(self, path: str) -> str | None:
        """What an object store calls the content of an object; None where there is no object, or no such name."""
        try:
            status = self._system(path).getFileStatus(self._path(path))
        except Py4JJavaError as error:
            if _java_class(error) != "java.io.FileNotFoundException":
                raise
            return None
        return status.getETag() if _java_class_of(status).endswith("S3AFileStatus") else None

    def write_text(self, path: str, text: str, etag: str | None = None) -> None:
        """Writes a file, also over one that is there; with an etag only over the object that has it."""
        builder = self._system(path).createFile(self._path(path)).overwrite(True)
        if etag is not None:
            builder = builder.opt("fs.option.create.conditional.overwrite.etag", etag)
        with closing(builder.recursive().build()) as out:
            out.writeBytes(text)

    def create_text(self, path: str, text: str) -> bool:
        """Writes a file that is not there yet; False, and nothing is written, where there is one."""
        # S3 looks and writes in two steps unless it is asked for a conditional write; others ignore the option.
        builder = self._system(path).createFile(self._path(path)).overwrite(False).recursive()
        builder = builder.opt("fs.option.create.conditional.overwrite", True)
        try:
            with closing(builder.build()) as out:
                out.writeBytes(text)
        except Py4JJavaError:
            if self.modified(path) is None:
                raise
            return False
        return True

    def read_text(self, path: str) -> str:
        with closing(self._system(path).open(self._path(path))) as stream:
            return jvm.packages(self._spark).org.apache.commons.io.IOUtils.toString(stream, "UTF-8")

    def _path(self, path: str):
        return jvm.packages(self._spark).org.apache.hadoop.fs.Path(path)

    def _system(self, path: str):
        return self._path(path).getFileSystem(jvm.hadoop_configuration(self._spark))


def _java_class(error: Py4JJavaError) -> str:
    return _java_class_of(error.java_exception)


def _java_class_of(value) -> str:
    return value.getClass().getName()


def first_line(error: BaseException) -> str:
    """The first line of an error's message, Java's own where there is one."""
    lines = str(error.java_exception if isinstance(error, Py4JJavaError) else error).splitlines()
    return lines[0] if lines else type(error).__name__
