import subprocess
import sys


def test_the_front_ends_load_no_heavy_library():
    script = (
        "import sys, mmedge.features.audio, mmedge.features.camera\n"
        "print(*({'cv2', 'scipy', 'torch', 'librosa', 'onnxruntime'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


def test_a_picture_of_the_right_size_needs_no_opencv():
    script = (
        "import sys\n"
        "sys.modules['cv2'] = None\n"
        "import numpy as np\n"
        "from mmedge.features.camera import CameraFrontEnd\n"
        "from mmedge.features.settings import CameraSettings\n"
        "front_end = CameraFrontEnd(CameraSettings(width_px=8, height_px=6))\n"
        "front_end.window(np.zeros((6, 8, 3), np.uint8))\n"
        "try:\n"
        "    front_end.window(np.zeros((7, 8, 3), np.uint8))\n"
        "except ImportError as error:\n"
        "    print(error)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "try: pip install 'mmedge[cpu]'" in result.stdout
