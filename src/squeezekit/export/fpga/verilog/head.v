// The head: sums of each channel over all pixels, times weights, as logits.
module head #(
    parameter POSITIONS = 1,
    parameter C = 1,
    parameter AVERAGE = 8,
    parameter DROP = 0,
    parameter CLASSES = 2,
    parameter FILTERS = 1,
    parameter LANES = 1,
    parameter BITS = 8,
    parameter SUM = 20,
    parameter TOTAL = 20,
    parameter WIDTH = 64,
    parameter SHIFT = 24,
    parameter LOGIC = 0,
    parameter WEIGHTS = "",
    parameter TABLE = ""
) (
    input clock,
    input reset,
    input in_valid,
    output in_ready,
    input [7:0] in_data,
    output out_valid,
    input out_ready,
    output signed [31:0] out_data,
    output out_last
);
    localparam DATA = AVERAGE - DROP + 1;
    wire means_valid, means_ready, words_valid, words_ready, words_last, sums_valid, sums_ready;
    wire [DATA-1:0] means;
    wire [LANES*DATA-1:0] words;
    wire signed [SUM-1:0] sums;

    average #(.POSITIONS(POSITIONS), .C(C), .SUM(AVERAGE), .DROP(DROP)) over_pixels (
        .clock(clock), .reset(reset), .in_valid(in_valid), .in_ready(in_ready), .in_data(in_data),
        .out_valid(means_valid), .out_ready(means_ready), .out_data(means));
    window #(.DATA(DATA), .H(1), .W(1), .C(C), .K(1), .STRIDE(1), .PAD(0), .LANES(LANES), .ROWS(2),
             .REPEAT((CLASSES + FILTERS - 1) / FILTERS)) under_filter (
        .clock(clock), .reset(reset), .in_valid(means_valid), .in_ready(means_ready), .in_data(means),
        .out_valid(words_valid), .out_ready(words_ready), .out_data(words), .out_last(words_last));
    multiply #(.DATA(DATA), .LANES(LANES), .OUTPUTS(CLASSES), .FILTERS(FILTERS), .TAPS(C / LANES), .BITS(BITS), .SUM(SUM),
               .LOGIC(LOGIC), .FILE(WEIGHTS)) filters (
        .clock(clock), .reset(reset), .in_valid(words_valid), .in_ready(words_ready), .in_data(words), .in_last(words_last),
        .out_valid(sums_valid), .out_ready(sums_ready), .out_data(sums));
    logits #(.CLASSES(CLASSES), .SUM(SUM), .TOTAL(TOTAL), .WIDTH(WIDTH), .SHIFT(SHIFT), .FILE(TABLE)) to_logits (
        .clock(clock), .reset(reset), .in_valid(sums_valid), .in_ready(sums_ready), .in_data(sums),
        .out_valid(out_valid), .out_ready(out_ready), .out_data(out_data), .out_last(out_last));
endmodule
