import peers


class Item(peers.Subject):
    work = peers.ITEM


class Row(peers.Subject):
    work = peers.ROW


class Slice(peers.Subject):
    work = peers.SLICE


class SliceBySize(peers.Subject):
    work = peers.SLICE_GROWTH
