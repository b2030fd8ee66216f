"""What the backend computes on."""

import keras


def accelerators():
    """Names (str) of what the backend computes on beside the processor; empty where there is nothing else."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return [device.device_kind for device in jax.devices() if device.platform != "cpu"]
    if backend != "tensorflow":
        return []
    import tensorflow as tf

    found = tf.config.list_physical_devices("GPU")
    return [tf.config.experimental.get_device_details(device).get("device_name", device.name) for device in found]


def computed_with(config):
    """dict: Keras's `backend`, the `precision` of products, and the `device`; as results.json holds it.

    Args:
        config: resolved `RunConfig`.
    """
    device = (accelerators() or ["processor"])[0]
    return {"backend": keras.backend.backend(), "precision": config.compute.precision, "device": device}
