// Keeps ROWS rows of a picture and gives, for each place of a filter, the words under it, REPEAT times.
//
// A word is LANES channels of one pixel. Words come in the order of the filter's weights: rows, columns, channels innermost;
// out_last marks the last one of each time. Outside of the picture, a pixel's channels are those of BORDER.
module window #(
    parameter DATA = 8,
    parameter H = 3,
    parameter W = 3,
    parameter C = 1,
    parameter K = 3,
    parameter STRIDE = 1,
    parameter PAD = 1,
    parameter LANES = 1,
    parameter ROWS = 4,
    parameter REPEAT = 1,
    parameter [C*DATA-1:0] BORDER = 0
) (
    input clock,
    input reset,
    input in_valid,
    output in_ready,
    input [DATA-1:0] in_data,
    output out_valid,
    input out_ready,
    output [LANES*DATA-1:0] out_data,
    output out_last
);
    localparam OUT_H = (H + 2 * PAD - K) / STRIDE + 1;
    localparam OUT_W = (W + 2 * PAD - K) / STRIDE + 1;
    localparam WORDS = C / LANES;
    localparam LINE = W * WORDS;
    localparam SIZE = ROWS * LINE;
    localparam A = SIZE > 1 ? $clog2(SIZE) : 1;
    localparam HELD = $clog2(ROWS + 1);
    // Rows between lines go with the line before them.
    localparam SPAN = K > STRIDE ? K : STRIDE;
    localparam SIGNED = $clog2((H > W ? H : W) + 2 * PAD + K + STRIDE) + 1;
    // Where each line of places is made from one row of its own, no line has to find out which rows it needs.
    localparam BY_ROW = K == 1 && STRIDE == 1 && PAD == 0;

    // Writing: LANES banks, one byte at a time.
    reg [HELD-1:0] held;  // Whole rows that are here.
    reg [A-1:0] write_address, written;
    reg [$clog2(LANES+1)-1:0] lane;
    assign in_ready = held != ROWS;
    wire writes = in_valid && in_ready;
    wire word_done = writes && lane == LANES - 1;
    wire row_done = word_done && written == LINE - 1;

    always @(posedge clock)
        if (reset) begin
            write_address <= 0;
            written <= 0;
            lane <= 0;
        end else begin
            if (writes) lane <= lane == LANES - 1 ? 0 : lane + 1'b1;
            if (word_done) begin
                write_address <= write_address == SIZE - 1 ? 0 : write_address + 1'b1;
                written <= written == LINE - 1 ? 0 : written + 1'b1;
            end
        end

    // Reading: which word, of which filter row and column, for which time, at which place.
    reg [$clog2(WORDS+1)-1:0] word;
    reg [$clog2(K+1)-1:0] kx, ky;
    reg [$clog2(REPEAT+1)-1:0] time_read;
    reg [$clog2(OUT_W+1)-1:0] x;
    reg [$clog2(OUT_H+1)-1:0] y;
    reg signed [SIGNED-1:0] left, column, top, row;
    wire strip_ends = word == WORDS - 1 && kx == K - 1;
    wire window_ends = strip_ends && ky == K - 1;
    wire place_ends = window_ends && time_read == REPEAT - 1;
    wire line_ends = place_ends && x == OUT_W - 1;
    wire picture_ends = line_ends && y == OUT_H - 1;
    wire on_picture = PAD == 0 || (row >= 0 && row < H && column >= 0 && column < W);

    reg running;
    reg out_full, on_picture_0, last_0;
    wire moves = !out_full || out_ready;
    wire reads = running && moves;

    // Rows that a line needs, and those that no line needs after it.
    reg signed [SIGNED-1:0] first, following, end_row;
    reg [HELD-1:0] needed, released;
    reg [1:0] settling;
    always @(posedge clock) begin
        first <= top < 0 ? 0 : top;
        following <= y == OUT_H - 1 ? H : top < -STRIDE ? 0 : top + STRIDE;
        end_row <= y == OUT_H - 1 || top > H - SPAN ? H : top + SPAN;
        needed <= BY_ROW ? 1 : end_row - first;
        released <= BY_ROW ? 1 : following - first;
    end

    always @(posedge clock)
        if (reset) begin
            held <= 0;
            running <= 0;
            settling <= 3;
        end else begin
            held <= held + row_done - (reads && line_ends ? released : {HELD{1'b0}});
            if (settling != 0) settling <= settling - 1'b1;
            if (reads && line_ends) begin
                running <= BY_ROW && held > 1;
                settling <= BY_ROW ? 0 : 3;
            end else if (!running && settling == 0) running <= held >= needed;
        end

    // Addresses, modulo 2**A, so that those outside of the picture need not be right.
    localparam NEXT_LINE = STRIDE % ROWS;
    localparam NEXT_PICTURE = (H - (OUT_H - 1) * STRIDE) % ROWS;
    localparam START = (ROWS - PAD % ROWS) % ROWS;
    localparam S = $clog2(2 * ROWS);
    reg [A-1:0] address, strip, corner, line;
    reg [S-1:0] slot, line_slot;
    wire last_slot = slot == ROWS - 1;
    wire [A-1:0] next_strip = last_slot ? strip - (ROWS - 1) * LINE : strip + LINE;
    wire [S-1:0] far = line_slot + (y == OUT_H - 1 ? NEXT_PICTURE : NEXT_LINE);
    wire wraps = far >= ROWS;
    wire [A-1:0] distance = y == OUT_H - 1 ? (wraps ? (NEXT_PICTURE - ROWS) * LINE : NEXT_PICTURE * LINE)
                                       : (wraps ? (NEXT_LINE - ROWS) * LINE : NEXT_LINE * LINE);
    wire [A-1:0] next_line = line + distance;
    wire [S-1:0] next_slot = wraps ? far - ROWS : far;

    always @(posedge clock)
        if (reset) begin
            {word, kx, ky, time_read, x, y} <= 0;
            left <= -PAD;
            column <= -PAD;
            top <= -PAD;
            row <= -PAD;
            line <= START * LINE - PAD * WORDS;
            corner <= START * LINE - PAD * WORDS;
            strip <= START * LINE - PAD * WORDS;
            address <= START * LINE - PAD * WORDS;
            line_slot <= START;
            slot <= START;
        end else if (reads) begin
            word <= word == WORDS - 1 ? 0 : word + 1'b1;
            if (word == WORDS - 1) begin
                kx <= kx == K - 1 ? 0 : kx + 1'b1;
                column <= kx == K - 1 ? left : column + 1'b1;
            end
            address <= address + 1'b1;
            if (strip_ends) begin
                ky <= ky == K - 1 ? 0 : ky + 1'b1;
                row <= row + 1'b1;
                address <= next_strip;
                strip <= next_strip;
                slot <= last_slot ? 0 : slot + 1'b1;
            end
            if (window_ends) begin
                time_read <= time_read == REPEAT - 1 ? 0 : time_read + 1'b1;
                row <= top;
                address <= corner;
                strip <= corner;
                slot <= line_slot;
            end
            if (place_ends) begin
                x <= x + 1'b1;
                left <= left + STRIDE;
                column <= left + STRIDE;
                corner <= corner + STRIDE * WORDS;
                address <= corner + STRIDE * WORDS;
                strip <= corner + STRIDE * WORDS;
            end
            if (line_ends) begin
                x <= 0;
                y <= y == OUT_H - 1 ? 0 : y + 1'b1;
                left <= -PAD;
                column <= -PAD;
                top <= picture_ends ? -PAD : top + STRIDE;
                row <= picture_ends ? -PAD : top + STRIDE;
                line <= next_line;
                corner <= next_line;
                address <= next_line;
                strip <= next_line;
                line_slot <= next_slot;
                slot <= next_slot;
            end
        end

    wire [LANES*DATA-1:0] border = BORDER[word*LANES*DATA +: LANES*DATA];
    reg [LANES*DATA-1:0] border_0;
    always @(posedge clock) begin
        if (reset) out_full <= 0;
        else if (moves) out_full <= running;
        if (moves) begin
            on_picture_0 <= on_picture;
            border_0 <= border;
            last_0 <= window_ends;
        end
    end
    assign out_valid = out_full;
    assign out_last = last_0;

    genvar i;
    generate
        for (i = 0; i < LANES; i = i + 1) begin : bank
            (* no_rw_check *) reg [DATA-1:0] memory [0:SIZE-1];
            reg [DATA-1:0] read;
            always @(posedge clock) begin
                if (writes && lane == i) memory[write_address] <= in_data;
                if (moves) read <= memory[address];
            end
            assign out_data[i*DATA +: DATA] = on_picture_0 ? read : border_0[i*DATA +: DATA];
        end
    endgenerate
endmodule
