"""What trained audio-visual models did to exporters and loaders, and the tests that say what is done about it."""

__all__ = ["TRAPS"]

HERE, MEDIA = "export/test_traps.py::", "runtime/sources/"

TRAPS: dict[str, tuple[str, ...]] = {
    "a recurrent layer whose time axis is frozen at the length of another export": (
        f"{HERE}test_recurrent_layers_are_exported_twice_in_one_process",
        f"{HERE}test_a_time_axis_that_the_exporter_froze_at_another_length_is_refused",
    ),
    "MaxPool3d on a tensor of four axes": (
        f"{HERE}test_pooling_over_three_axes_of_four_is_what_torch_takes_it_for",
        f"{HERE}test_pooling_over_three_axes_of_four_as_other_exporters_write_it_is_refused",
    ),
    ".squeeze() without a dim, which aborts the process at batch 1": (
        f"{HERE}test_a_squeeze_that_drops_the_batch_axis_is_refused",
        f"{HERE}test_a_squeeze_that_mixes_up_axes_at_batch_1_is_refused",
        f"{HERE}test_a_squeeze_that_makes_onnx_runtime_abort_at_batch_1_is_refused_and_we_live_on",
        "export/test_parity.py::test_a_graph_that_kills_its_process_is_an_error_not_the_end",
    ),
    "an export that puts the user's module in another mode": (
        "export/test_forward.py::test_the_users_module_is_left_as_it_was",
    ),
    "a Python loop over the batch axis": (f"{HERE}test_a_python_loop_over_the_batch_is_right_at_batch_1",),
    "a device written into forward()": (f"{HERE}test_cuda_in_forward_is_named_by_its_line_with_what_to_change",),
    "a head outside of forward(), several entry points": (
        f"{HERE}test_a_head_outside_of_forward_is_put_back_by_a_wrapper_of_the_users",
    ),
    "inputs in a list or a dict, flags beside them": (
        "export/test_forward.py::test_inputs_come_in_what_forward_wants_them_in",
    ),
    "a pickled module of an older repository": (
        f"{HERE}test_a_module_that_is_older_than_its_code_is_refused_by_the_line_that_fails",
        "export/test_checkpoint.py::test_a_pickled_module_is_refused_and_not_run",
        "export/test_checkpoint.py::test_a_trusted_pickle_says_which_code_is_missing",
    ),
    "a prefix before the names of weights, missing and unexpected names": (
        f"{HERE}test_a_prefix_before_every_name_is_taken_off",
        "export/test_checkpoint.py::test_missing_and_surprising_keys_are_named",
    ),
    "features of another toolkit's convention": (
        "runtime/features/test_mel_references.py::test_kaldi_mfcc_is_what_kaldi_native_fbank_computes",
        "runtime/features/test_mel_references.py::test_librosa_mfcc_is_what_librosa_computes",
        "runtime/features/test_mel_references.py::test_torchaudio_mfcc_is_the_cosine_transform_of_clamped_decibels",
        "runtime/features/test_mel_references.py::test_whisper_log_mel_is_its_published_formula",
        "runtime/features/test_mel_references.py::test_python_speech_features_are_its_published_loops",
        "runtime/features/test_settings.py::test_settings_survive_the_manifest",
    ),
    "pictures and sound of one file that start at different times": (
        f"{MEDIA}test_media.py::test_sound_is_at_the_time_of_the_file_in_spite_of_priming",
        f"{MEDIA}test_media.py::test_start_of_the_pictures_is_on_the_same_clock",
        f"{MEDIA}test_pairing.py::test_own_sound_track_shares_the_clock_of_the_pictures",
    ),
    "files that are cut, rotated, without sound, of variable rate, with cover art": (
        f"{MEDIA}test_video.py::test_variable_frame_rate_keeps_its_times",
        f"{MEDIA}test_video.py::test_rotation_of_the_file_is_applied_and_noted",
        f"{MEDIA}test_video.py::test_cover_art_is_not_a_video",
        f"{MEDIA}test_video.py::test_cut_off_video_is_read_to_its_end_then_refused",
        f"{MEDIA}test_media.py::test_file_without_sound_is_refused",
        f"{MEDIA}test_media.py::test_stereo_is_averaged_and_another_rate_resampled",
        f"{MEDIA}test_media.py::test_cut_off_file_is_read_to_its_end_then_refused",
        f"{MEDIA}test_media.py::test_what_is_no_media_file_is_refused_in_one_line",
    ),
    "weights in bfloat16 with Conv and BatchNorm": (
        f"{HERE}test_bfloat16_weights_are_computed_with_in_float32_and_the_bundle_says_so",
    ),
    "an opset that the exporter takes as a wish": (
        f"{HERE}test_the_opset_is_the_one_that_was_asked_for",
        f"{HERE}test_an_opset_that_the_exporter_did_not_keep_to_is_refused",
    ),
}
