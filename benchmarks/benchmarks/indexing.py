import warm


class Item(warm.Subject):
    work = warm.ITEM


class Row(warm.Subject):
    work = warm.ROW


class Slice(warm.Subject):
    work = warm.SLICE


class SliceBySize(warm.Subject):
    work = warm.SLICE_GROWTH
