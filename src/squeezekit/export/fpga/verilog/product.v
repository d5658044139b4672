// An unsigned value times a signed weight; with LOGIC as a sum of shifted values, so that no DSP is taken for it.
module product #(
    parameter DATA = 8,
    parameter BITS = 8,
    parameter LOGIC = 0
) (
    input [DATA-1:0] value,
    input signed [BITS-1:0] weight,
    output signed [DATA+BITS-1:0] result
);
    generate
        if (LOGIC) begin : in_logic
            wire signed [DATA+BITS-1:0] wide = {{BITS{1'b0}}, value};
            reg signed [DATA+BITS-1:0] sum;
            integer i;
            always @* begin
                sum = 0;
                for (i = 0; i < BITS - 1; i = i + 1) sum = sum + ((wide & {DATA+BITS{weight[i]}}) <<< i);
                sum = sum - ((wide & {DATA+BITS{weight[BITS-1]}}) <<< (BITS - 1));
            end
            assign result = sum;
        end else begin : as_one
            wire signed [DATA:0] positive = {1'b0, value};
            assign result = weight * positive;
        end
    endgenerate
endmodule
