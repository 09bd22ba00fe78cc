/* Reads the sparse weights of an export. C99, no allocation; the format is described in encoding.py and the guide.
 *
 *     struct sparse_reader reader;
 *     struct sparse_tensor tensor;
 *     if (sparse_open(&reader, file, file_bytes)) fail();
 *     while (sparse_next(&reader, &tensor) == 0) sparse_decode(&tensor, weights_of(tensor.name, tensor.name_bytes));
 *
 * Each function returns 0, or SPARSE_END after the last tensor, or SPARSE_DAMAGED. Nothing outside the file is read and
 * no more than tensor.elements * tensor.item_bytes bytes are written. Values are copied as they are stored, so that
 * the machine has to be little-endian.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { SPARSE_OK = 0, SPARSE_END = 1, SPARSE_DAMAGED = 2 };
enum { SPARSE_ALL = 0, SPARSE_BITMAP = 1, SPARSE_GAPS_4 = 2, SPARSE_GAPS_8 = 3 };

struct sparse_reader {
    const uint8_t *at, *end;
    uint32_t left;
};

struct sparse_tensor {
    const char *name;        /* not terminated */
    const uint8_t *shape;    /* dimensions times 4 bytes */
    const uint8_t *payload;
    uint32_t elements, stored, payload_bytes;
    uint8_t name_bytes, dimensions, form, type, item_bytes;
};

static uint32_t sparse_u32(const uint8_t *at) {
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

int sparse_open(struct sparse_reader *reader, const uint8_t *file, size_t file_bytes) {
    if (file_bytes < 12 || memcmp(file, "RPSW\1\0", 6) != 0) return SPARSE_DAMAGED;
    reader->at = file + 12;
    reader->end = file + file_bytes;
    reader->left = sparse_u32(file + 8);
    return SPARSE_OK;
}

int sparse_next(struct sparse_reader *reader, struct sparse_tensor *tensor) {
    static const uint8_t item_bytes[] = {4, 1, 1, 4, 8}; /* float32, int8, uint8, int32, int64 */
    const uint8_t *at = reader->at;
    uint64_t elements = 1;
    if (reader->left == 0) return SPARSE_END;
    if (reader->end - at < 4 || at[1] >= sizeof item_bytes) return SPARSE_DAMAGED;
    tensor->form = at[0];
    tensor->type = at[1];
    tensor->item_bytes = item_bytes[at[1]];
    tensor->dimensions = at[2];
    tensor->name_bytes = at[3];
    at += 4;
    if (reader->end - at < 4 * (ptrdiff_t)tensor->dimensions + 8 + tensor->name_bytes) return SPARSE_DAMAGED;
    tensor->shape = at;
    for (unsigned axis = 0; axis < tensor->dimensions; axis++, at += 4) {
        elements *= sparse_u32(at);
        if (elements > UINT32_MAX) return SPARSE_DAMAGED;
    }
    tensor->elements = (uint32_t)elements;
    tensor->stored = sparse_u32(at);
    tensor->payload_bytes = sparse_u32(at + 4);
    tensor->name = (const char *)at + 8;
    tensor->payload = at + 8 + tensor->name_bytes;
    if ((uint64_t)(reader->end - tensor->payload) < tensor->payload_bytes) return SPARSE_DAMAGED;
    reader->at = tensor->payload + tensor->payload_bytes;
    reader->left--;
    return SPARSE_OK;
}

int sparse_decode(const struct sparse_tensor *tensor, void *weights) {
    const size_t item = tensor->item_bytes;
    const uint64_t values_bytes = (uint64_t)tensor->stored * item;
    uint8_t *out = weights;
    if (values_bytes > tensor->payload_bytes || tensor->stored > tensor->elements) return SPARSE_DAMAGED;
    const uint8_t *code = tensor->payload, *values = code + (tensor->payload_bytes - values_bytes);
    const size_t code_bytes = (size_t)(values - code);
    if (tensor->form == SPARSE_ALL) {
        if (tensor->stored != tensor->elements || code_bytes) return SPARSE_DAMAGED;
        memcpy(out, values, values_bytes);
        return SPARSE_OK;
    }
    memset(out, 0, (size_t)tensor->elements * item);
    uint32_t stored = 0;
    if (tensor->form == SPARSE_BITMAP) {
        if (code_bytes != ((size_t)tensor->elements + 7) / 8) return SPARSE_DAMAGED;
        for (uint32_t place = 0; place < tensor->elements; place++) {
            if (!(code[place / 8] >> place % 8 & 1)) continue;
            if (stored == tensor->stored) return SPARSE_DAMAGED;
            memcpy(out + place * item, values + stored++ * item, item);
        }
        return stored == tensor->stored ? SPARSE_OK : SPARSE_DAMAGED;
    }
    if (tensor->form != SPARSE_GAPS_4 && tensor->form != SPARSE_GAPS_8) return SPARSE_DAMAGED;
    const int halves = tensor->form == SPARSE_GAPS_4;
    const unsigned most = halves ? 15 : 255;
    uint64_t place = 0;
    for (size_t index = 0; stored < tensor->stored; index++) {
        if (index >= code_bytes << halves) return SPARSE_DAMAGED;
        const unsigned gap = halves ? code[index / 2] >> index % 2 * 4 & 15 : code[index];
        place += gap;
        if (gap == most) continue;
        if (place >= tensor->elements) return SPARSE_DAMAGED;
        memcpy(out + place++ * item, values + stored++ * item, item);
    }
    return SPARSE_OK;
}
