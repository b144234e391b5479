"""Local content: layers as mountable files, manifests, configs, metadata, leases.

Modules, in reading order:
  store                     the facade: opens and wires the parts
  settings, errors          what it is told, what it raises
  metadata                  the SQLite schema
  content, ingest           blobs by digest; receiving them in pieces
  images, leases            what an image is made of; what is in use
  layers, layer_records     layers by DiffID; what is known of them
  unpack, decompress, zstd_frames
                            the pipeline from compressed stream to visible layer
  tar_header, tar_stream, tar_scan
                            the walk over a tar's members; its short way in C
  layer_form, layer_syncer  what a form of layer must do; durability behind the pull's back
  layer_tree, erofs_image, sparse_pieces, erofs_layers
                            the form that is tar and file system in one file
  directory_layers, extract, directory_cache, tree_files, tar_record
                            the form that is an extracted tree, with what it takes to give the tar back
  snapshotter               the contract: roots made of layers
  overlay_snapshotter, supplements, snapshot_records, layer_mounts
                            its implementation over overlayfs
  gc, usage, check          what may go, what takes space, what is broken
  probe, mounts, overlay_mount, loop_device, safe_paths, sparse_files
                            what the kernel can do, and how it is asked
  native                    what is compiled, where it is
"""
