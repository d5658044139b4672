// Sums become logits: ((sum + bias) * gain + half) >> SHIFT, rounded down, one bit of the gain a cycle.
//
// A word of the table is bias, TOTAL bits, and gain, 31 bits; WIDTH bits hold every product.
module logits #(
    parameter CLASSES = 2,
    parameter SUM = 20,
    parameter TOTAL = 20,
    parameter WIDTH = 64,
    parameter SHIFT = 24,
    parameter FILE = ""
) (
    input clock,
    input reset,
    input in_valid,
    output in_ready,
    input signed [SUM-1:0] in_data,
    output out_valid,
    input out_ready,
    output signed [31:0] out_data,
    output out_last
);
    localparam GAIN = 31;
    reg [TOTAL+GAIN-1:0] table_of_classes [0:CLASSES-1];
    initial $readmemh(FILE, table_of_classes);

    reg [$clog2(CLASSES+1)-1:0] label;
    reg [TOTAL+GAIN-1:0] entry;
    reg signed [SUM-1:0] sum;
    reg signed [WIDTH-1:0] addend, product;
    reg [GAIN-1:0] bits;
    reg [5:0] cycle;  // 0: waits; 1: the table is read; 2: begins; then a bit of the gain each; at the end the result waits.
    localparam END = GAIN + 3;
    wire signed [TOTAL-1:0] total = sum + $signed(entry[GAIN +: TOTAL]);
    wire signed [WIDTH-1:0] shifted = product >>> SHIFT;
    assign in_ready = cycle == 0;
    assign out_valid = cycle == END;
    assign out_data = shifted;
    assign out_last = label == CLASSES - 1;

    always @(posedge clock)
        if (reset) begin
            cycle <= 0;
            label <= 0;
        end else if (cycle == 0) cycle <= in_valid;
        else if (cycle != END) cycle <= cycle + 1'b1;
        else if (out_ready) begin
            cycle <= 0;
            label <= out_last ? 0 : label + 1'b1;
        end

    always @(posedge clock) begin
        entry <= table_of_classes[label];
        if (cycle == 0) sum <= in_data;
        if (cycle == 2) begin
            addend <= total;
            bits <= entry[GAIN-1:0];
            product <= {{WIDTH-1{1'b0}}, 1'b1} << (SHIFT - 1);
        end else if (cycle != END) begin
            if (bits[0]) product <= product + addend;
            addend <= addend <<< 1;
            bits <= bits >> 1;
        end
    end
endmodule
