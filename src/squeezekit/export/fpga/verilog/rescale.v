// Sums become bytes: (max(sum + bias, 0) * gain + half) >> SHIFT, at most 255; bias and gain are those of the filter.
//
// A word of the table is bias, TOTAL bits, and gain, GAIN bits.
module rescale #(
    parameter OUTPUTS = 1,
    parameter SUM = 20,
    parameter TOTAL = 20,
    parameter GAIN = 16,
    parameter SHIFT = 13,
    parameter LOGIC = 0,
    parameter FILE = ""
) (
    input clock,
    input reset,
    input in_valid,
    output in_ready,
    input signed [SUM-1:0] in_data,
    output out_valid,
    input out_ready,
    output [7:0] out_data
);
    localparam PRODUCT = TOTAL + GAIN > SHIFT + 9 ? TOTAL + GAIN : SHIFT + 9;
    // A DSP multiplies 17 bits: what is above them is multiplied beside.
    localparam LOW = TOTAL - 1 > 17 ? 17 : TOTAL - 1;
    localparam HIGH = TOTAL - 1 > LOW ? TOTAL - 1 - LOW : 1;
    localparam [PRODUCT-1:0] HALF = {{PRODUCT-1{1'b0}}, 1'b1} << (SHIFT - 1);
    reg [TOTAL+GAIN-1:0] table_of_filters [0:OUTPUTS-1];
    initial $readmemh(FILE, table_of_filters);

    reg [5:0] valid;
    wire moves = !valid[5] || out_ready;
    assign in_ready = moves;
    assign out_valid = valid[5];

    reg [$clog2(OUTPUTS+1)-1:0] filter;
    reg [TOTAL+GAIN-1:0] entry;
    reg signed [SUM-1:0] sum;
    reg signed [TOTAL-1:0] total;
    reg [TOTAL-2:0] positive;
    reg [GAIN-1:0] gain_0, gain_1;
    wire [LOW+GAIN:0] times_low;
    wire [HIGH+GAIN:0] times_high;
    reg [LOW+GAIN-1:0] low;
    reg [HIGH+GAIN-1:0] high;
    reg [PRODUCT-1:0] rounded;
    reg [7:0] result;
    wire [PRODUCT-1:0] shifted = rounded >> SHIFT;
    assign out_data = result;
    product #(.DATA(LOW), .BITS(GAIN + 1), .LOGIC(LOGIC)) low_times_gain (
        .value(positive[LOW-1:0]), .weight({1'b0, gain_1}), .result(times_low));
    generate
        if (TOTAL - 1 > LOW) begin : high_part
            product #(.DATA(HIGH), .BITS(GAIN + 1), .LOGIC(LOGIC)) high_times_gain (
                .value(positive[TOTAL-2:LOW]), .weight({1'b0, gain_1}), .result(times_high));
        end else begin : no_high_part
            assign times_high = 0;
        end
    endgenerate

    always @(posedge clock)
        if (reset) begin
            valid <= 0;
            filter <= 0;
        end else if (moves) begin
            valid <= {valid[4:0], in_valid};
            if (in_valid) filter <= filter == OUTPUTS - 1 ? 0 : filter + 1'b1;
        end
    always @(posedge clock)
        if (moves) begin
            entry <= table_of_filters[filter];
            sum <= in_data;
            total <= sum + $signed(entry[GAIN +: TOTAL]);
            gain_0 <= entry[GAIN-1:0];
            positive <= total[TOTAL-1] ? 0 : total[TOTAL-2:0];
            gain_1 <= gain_0;
            low <= times_low;
            high <= times_high;
            rounded <= ({{PRODUCT{1'b0}}, high} << LOW) + low + HALF;
            result <= shifted > 255 ? 8'd255 : shifted[7:0];
        end
endmodule
